"""What an attempt ran in, so that it can be repeated: `jobs/<id>/attempts/<n>/environment.json`."""

from __future__ import annotations

from pydantic import Field

from workers.contract.model import Model
from workers.contract.request import JobSpec


class Machine(Model):
    """A machine that workers ran on. Machines have numbers and no names: a name says nothing elsewhere."""

    number: int = Field(ge=0)
    platform: str = Field(description="operating system and its version")
    cpu: str = Field(description="model of the processor")
    cpus: int = Field(ge=1, description="processors that the system counts")
    memory_bytes: int = Field(ge=0)
    packages_sha256: str = Field(description="of the list of packages; the same on machines that have the same ones")


class Worker(Model):
    """One of the processes that trained."""

    rank: int = Field(ge=0)
    machine: int = Field(ge=0, description="number of its machine")
    threads: int = Field(ge=1, description="threads that its products use")
    gpu: str | None = Field(description="model of its GPU")


class Environment(Model):
    """Code, packages, hardware and data of an attempt. Where its workers were started anew, those of the last start."""

    job_id: str
    attempt: int = Field(ge=1)
    version: str = Field(description="of this service's package")
    commit: str | None = Field(description="of the code, with -dirty where it was changed; empty: not under git")
    python: str
    packages: dict[str, str] = Field(description="all that were installed beside rank 0, with their versions")
    torch_build: str = Field(description="what torch was compiled with, and for")
    cuda: str | None
    machines: list[Machine]
    workers: list[Worker] = Field(description="by rank: as many as the world size")
    seed: int
    dataset_id: str
    dataset_version: int
    dataset_sha256: str = Field(description="of the version's table, which holds the hashes of all files")
    spec: JobSpec
