"""Writes down what an attempt runs in, before it trains."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from workers.contract import keys
from workers.contract.environment import Environment, Machine, Worker
from workers.exchange import gather
from workers.run import Run

GIT_SECONDS = 10


def record(run: Run) -> None:
    """Write the environment of this attempt; one that its workers' restart finds is replaced. A collective."""
    packages = installed()
    listed = hashlib.sha256(json.dumps(packages, sort_keys=True).encode()).hexdigest()
    host = socket.gethostname()
    machine = Machine(
        number=0,
        platform=platform.platform(),
        cpu=cpu_model(),
        cpus=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        packages_sha256=listed,
    )
    gpu = torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else None
    everyone = gather((host, machine, torch.get_num_threads(), gpu))
    if run.rank != 0:
        return
    hosts = list(dict.fromkeys(host for host, *_ in everyone))
    machines = {host: machine for host, machine, *_ in reversed(everyone)}
    spec = run.request.spec
    version = run.store.get(keys.version(spec.dataset_id, spec.dataset_version))
    environment = Environment(
        job_id=run.request.job_id,
        attempt=run.attempt,
        version=packages.get("dale-service", "not installed as a package"),
        commit=commit(),
        python=platform.python_version(),
        packages=packages,
        torch_build=torch.__config__.show(),
        cuda=torch.version.cuda,
        machines=[machines[host].model_copy(update={"number": number}) for number, host in enumerate(hosts)],
        workers=[
            Worker(rank=rank, machine=hosts.index(host), threads=threads, gpu=gpu)
            for rank, (host, _, threads, gpu) in enumerate(everyone)
        ],
        seed=spec.seed,
        dataset_id=spec.dataset_id,
        dataset_version=spec.dataset_version,
        dataset_sha256=hashlib.sha256(version).hexdigest(),
        spec=spec,
    )
    key = keys.environment(run.request.job_id, run.attempt)
    run.write(key, environment.model_dump_json().encode(), "application/json")


def installed() -> dict[str, str]:
    """Every installed distribution with its version, by name."""
    found = {
        distribution.metadata["Name"].lower(): distribution.version
        for distribution in metadata.distributions()
        if distribution.metadata["Name"]  # what a broken uninstall leaves has none
    }
    return dict(sorted(found.items()))


def cpu_model() -> str:
    """The processor's name, as Linux tells it; elsewhere what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit that this code is of, with -dirty where files were changed; None where it is not under git."""
    folder = Path(__file__).parents[1]
    if not (folder / ".git").exists():  # else a folder further up would answer, that of something else
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - nobody's input is among the words
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607 - wherever it is
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):  # no git here
        return None
    return answer.stdout.strip() or None
