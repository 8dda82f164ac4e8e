"""One shard: its samples predicted, its files and rows written, its mark last."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from workers.contract import keys, tables
from workers.contract.answers import SAME_MOMENT, ZIP, encoded
from workers.contract.outputs import Output
from workers.contract.prediction import PredictedShard
from workers.contract.request import ResultFile, Shard
from workers.contract.store import ObjectStore
from workers.predicting.samples import Predicted

PARQUET = "application/vnd.apache.parquet"


def write_shard(
    store: ObjectStore,
    job_id: str,
    number: int,
    samples: Iterable[Predicted],
    outputs: Iterable[Output],
    classes: int,
    told: Callable[[], None] = lambda: None,
) -> None:
    """Write a shard; nothing of it is held in memory but its rows and the sample under way.

    What an earlier attempt has left of it is replaced.

    Args:
        store: where to.
        job_id: the job.
        number: of the shard, from 0.
        samples: of the shard.
        outputs: what is kept of each sample: `masks/NAME.png` in `masks-000000.zip`, and so on.
        classes: C, the background included.
        told: called after each sample.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="dale-shard-") as folder:
        paths = {output: Path(folder) / f"{output.folder}-{number:06}.zip" for output in outputs}
        with ExitStack() as stack:
            archives = {output: stack.enter_context(zipfile.ZipFile(path, "w")) for output, path in paths.items()}
            for sample in samples:
                for output, archive in archives.items():
                    file = encoded(sample.prediction, output, sample.source)
                    ending = file.name.partition(".")[2]
                    name = f"{output.folder}/{sample.row['name']}.{ending}"
                    archive.writestr(zipfile.ZipInfo(name, SAME_MOMENT), file.content)  # all are packed already
                rows.append(sample.row | {"shard": number})
                told()
        files = [write_file(store, job_id, path) for path in paths.values()]
    data = tables.to_parquet(pa.Table.from_pylist(rows, schema=tables.predictions(classes)))
    key = keys.shard_rows(job_id, number)
    store.put(key, data, PARQUET)
    shard = Shard(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=len(rows))
    mark = PredictedShard(number=number, files=files, rows=shard)
    store.put(keys.shard(job_id, number), mark.model_dump_json().encode(), "application/json")


def write_file(store: ObjectStore, job_id: str, path: Path, media_type: str = ZIP) -> ResultFile:
    """Write a file of the result, and say what a manifest says of it."""
    key = keys.result(job_id, path.name)
    store.put_file(key, path, media_type)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ResultFile(key=key, size=path.stat().st_size, sha256=digest, name=path.name, media_type=media_type)


def done(store: ObjectStore, job_id: str) -> set[int]:
    """Numbers of the shards that are written."""
    prefix = keys.shards(job_id)
    names = (key.removeprefix(prefix) for key in store.list(prefix))
    return {int(name.removesuffix(".json")) for name in names if name.endswith(".json")}
