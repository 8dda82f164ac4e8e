"""Where things lie in the object store. One function per kind of object; nobody else spells a key."""

from __future__ import annotations

from typing import Literal

MANIFEST = "manifest.json"  # the commit mark of what lies beside it


def blob(dataset_id: str, sha256: str) -> str:
    """Bytes of an image or a mask, stored once under their hash."""
    return f"datasets/{dataset_id}/blobs/{sha256}"


def version(dataset_id: str, number: int) -> str:
    """The immutable sample list of a dataset version (`tables.SAMPLES` or `tables.VOLUMES`)."""
    return f"datasets/{dataset_id}/versions/{number}.parquet"


def dataset(dataset_id: str) -> str:
    """Prefix of everything that a dataset owns."""
    return f"datasets/{dataset_id}/"


def importing(dataset_id: str = "") -> str:
    """When an import last wrote below its dataset; gone once that is there. Of no dataset: prefix of all of them."""
    return f"imports/{dataset_id}"


def upload(upload_id: str) -> str:
    """Prefix of the parts of an upload."""
    return f"uploads/{upload_id}/"


def upload_part(upload_id: str, number: int) -> str:
    """A part of an upload, counted from 1."""
    return f"uploads/{upload_id}/{number}"


def job(job_id: str) -> str:
    """Prefix of everything that a job owns."""
    return f"jobs/{job_id}/"


def request(job_id: str) -> str:
    """What to train (`request.TrainRequest`)."""
    return f"jobs/{job_id}/request.json"


def progress(job_id: str) -> str:
    """Progress and heartbeat (`request.Progress`)."""
    return f"jobs/{job_id}/progress.json"


def epochs(job_id: str) -> str:
    """Prefix of everything that epochs wrote; the epoch's number follows."""
    return f"jobs/{job_id}/epochs/"


def epoch_manifest(job_id: str, epoch: int) -> str:
    """Commit mark of an epoch (`request.EpochManifest`)."""
    return f"{epochs(job_id)}{epoch}/{MANIFEST}"


def confidence_shard(job_id: str, epoch: int, rank: int, world_size: int) -> str:
    """Confidence rows that one rank owns (`tables.CONFIDENCE`)."""
    return f"{epochs(job_id)}{epoch}/confidence-{rank}-of-{world_size}.parquet"


def checkpoints(job_id: str) -> str:
    """Prefix of all checkpoints of a job; the number of steps done follows."""
    return f"jobs/{job_id}/checkpoints/"


def checkpoint(job_id: str, steps_done: int, name: str) -> str:
    """A file of a checkpoint; `MANIFEST` is its commit mark (`request.CheckpointManifest`)."""
    return f"{checkpoints(job_id)}{steps_done}/{name}"


def best_weights(job_id: str, epoch: int | None = None) -> str:
    """Weights after an epoch that was the best so far on the validation part; of no epoch: prefix of all of them.

    The manifest of that epoch is their commit mark.
    """
    return f"jobs/{job_id}/best/" + ("" if epoch is None else f"{epoch}.safetensors")


def shards(job_id: str) -> str:
    """Prefix of what the shards of a prediction job say of themselves; the number of the shard follows."""
    return f"jobs/{job_id}/shards/"


def shard(job_id: str, number: int) -> str:
    """Commit mark of a shard (`prediction.PredictedShard`)."""
    return f"{shards(job_id)}{number:06}.json"


def shard_rows(job_id: str, number: int) -> str:
    """What is known of each sample of a shard (`tables.predictions`)."""
    return f"{shards(job_id)}{number:06}.parquet"


def failure(job_id: str, attempt: int) -> str:
    """Why an attempt failed (`request.Failure`)."""
    return f"jobs/{job_id}/attempts/{attempt}/failure.json"


def environment(job_id: str, attempt: int) -> str:
    """What an attempt ran in (`environment.Environment`)."""
    return f"jobs/{job_id}/attempts/{attempt}/environment.json"


def result(job_id: str, name: str) -> str:
    """A file of the finished model."""
    return f"jobs/{job_id}/result/{name}"


def result_manifest(job_id: str) -> str:
    """Commit mark of the result (`request.ResultManifest`)."""
    return result(job_id, MANIFEST)


def held_out_scores(job_id: str, rank: int, world_size: int) -> str:
    """Scores of the held-out samples that one rank predicted (`tables.TEST_SCORES`)."""
    return result(job_id, f"test-{rank}-of-{world_size}.parquet")


def reasons(job_id: str, rank: int, world_size: int) -> str:
    """Why one rank's labels are doubted (`tables.REASONS`)."""
    return result(job_id, f"reasons-{rank}-of-{world_size}.parquet")


def neighbours(job_id: str, rank: int, world_size: int) -> str:
    """What one rank's samples look like (`tables.NEIGHBOURS`)."""
    return result(job_id, f"neighbours-{rank}-of-{world_size}.parquet")


def prediction(job_id: str, ordinal: int, suffix: Literal["png", "nii.gz"] = "png") -> str:
    """The final network's mask of a sample: 8-bit class indices in the image's own size.

    Of an image a PNG; of a volume (`nii.gz`) a NIfTI file with the volume's own affine.
    """
    return result(job_id, f"predictions/{ordinal}.{suffix}")


def doubt_map(job_id: str, ordinal: int, suffix: Literal["png", "nii.gz"] = "png") -> str:
    """Which pixels of a sample's label the final network doubts, in 8 bits.

    0 = nothing speaks against the label, 255 = the network is sure of another class (`dale.doubt_map` times 255). Of an
    image a grey PNG to be stretched over it: of the image's own size, or of the network's where that is smaller. Of a
    volume (`nii.gz`) a NIfTI file with the volume's own shape and affine.
    """
    return result(job_id, f"maps/{ordinal}.{suffix}")
