"""The asynchronous client, and the source of the synchronous one."""

from __future__ import annotations

from service.client.asynchronous.access import Access
from service.client.asynchronous.cross_validations import CrossValidations
from service.client.asynchronous.datasets import Datasets
from service.client.asynchronous.exports import Exports
from service.client.asynchronous.pictures import Pictures
from service.client.asynchronous.prediction_jobs import PredictionJobs
from service.client.asynchronous.predictions import Predictions
from service.client.asynchronous.reviews import Reviews


class AsyncClient(Datasets, CrossValidations, Reviews, Exports, Pictures, Predictions, PredictionJobs, Access):
    """All that the service does, as coroutines and asynchronous iterators, for asyncio."""
