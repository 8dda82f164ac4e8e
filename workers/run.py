"""One rank's view of a training run: what to train, where to write, and who it is among the others."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from workers.contract.request import TrainRequest, WrittenObject
from workers.contract.store import ObjectStore


@dataclass(frozen=True)
class Run:
    """A training run as one rank sees it.

    Attributes:
        request: what to train.
        attempt: counted from 1; a later one resumes.
        store: where data are read and results written.
        rank: this process.
        world_size: number of processes.
        device: where this rank computes; also where its process group communicates.
    """

    request: TrainRequest
    attempt: int
    store: ObjectStore
    rank: int
    world_size: int
    device: torch.device

    def write(self, key: str, data: bytes, media_type: str = "application/octet-stream") -> WrittenObject:
        """Write an object, and say what a manifest says of it."""
        self.store.put(key, data, media_type)
        return WrittenObject(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest())

    def write_file(self, key: str, path: Path, media_type: str) -> WrittenObject:
        """Write an object from a file, and say what a manifest says of it."""
        self.store.put_file(key, path, media_type)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return WrittenObject(key=key, size=path.stat().st_size, sha256=digest)
