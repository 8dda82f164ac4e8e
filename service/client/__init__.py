"""Python client of the HTTP API: typed answers, streamed uploads, resumable downloads.

```python
from pathlib import Path
from service.client import Client, JobSpec

with Client("http://127.0.0.1:8000", key) as dale:
    dataset = dale.upload(Path("lesions.zip"))
    job = dale.wait(dale.train(JobSpec(dataset_id=dataset.id, workers=2)).id)
    for sample in itertools.islice(dale.samples(job.id), 20):
        print(sample.sample, sample.confidence)
    dale.fetch(job.id, Path("model"))
```

`AsyncClient` has the same methods, to be awaited; what gives many gives an asynchronous iterator. Whoever leaves such
a loop early closes the iterator (`contextlib.aclosing`), and with it the connection. Everything that both raise on
purpose is a `ClientError`.

To add a method, write it in a class of `service/client/asynchronous/`, and run `make client`: that writes the same
module of `service/client/` without `async` and `await`. A new class is added to `AsyncClient` and `Client` by hand.
What waits for nothing (a query, a parser, the name of a file) is a module of `service/client/` that both import.
"""

from __future__ import annotations

from service.client.access import Access
from service.client.asynchronous import AsyncClient
from service.client.cross_validations import CrossValidations
from service.client.datasets import Datasets
from service.client.errors import ClientError, DamagedFile, Refused, Unreachable
from service.client.exports import Exports
from service.client.pictures import Pictures
from service.client.prediction_jobs import PredictionJobs
from service.client.predictions import Predictions
from service.client.queries import SampleQuery
from service.client.reviews import Reviews
from service.client.sse import Event
from service.datasets.options import ImportOptions
from service.resources.prediction_jobs import PostedPrediction
from workers.contract.request import JobSpec

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "DamagedFile",
    "Event",
    "ImportOptions",
    "JobSpec",
    "PostedPrediction",
    "Refused",
    "SampleQuery",
    "Unreachable",
]


class Client(Datasets, CrossValidations, Reviews, Exports, Pictures, Predictions, PredictionJobs, Access):
    """All that the service does, as methods."""
