"""One job through the API of a trial's cluster: what a user would do, and what must be true afterwards."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from deploy.trial.running import Trial, TrialError, say
from service.api.jobs import JobResource
from service.client import Client
from service.jobs.lifecycle import State

PLACED = re.compile(r"\(ip=([0-9.]+), pid=\d+\) world_rank=(\d+)")
JOB_SECONDS = 540
NETWORK = '{"channels": [8, 16, 32], "strides": [2, 2]}'


def train(trial: Trial, url: str, key: str, store: dict[str, str], *, nodes: int, samples: int, epochs: int) -> None:
    """Upload, train over all nodes, check, fetch.

    Raises:
        TrialError: it did not end well, or not as it should have.
    """
    user = {"DALE_URL": url, "DALE_API_KEY": key, "HOME": str(trial.folder)}

    def dale(*words: object) -> str:
        program = str(Path(sys.executable).with_name("dale"))
        return trial.run([program, *map(str, words)], {"PYTHONPATH": store["PYTHONPATH"], **user})

    lesions = trial.folder / "lesions"
    made = ["--out", str(lesions), "--samples", str(samples), "--image-size", "64", "--hold-out", "4"]
    trial.run([sys.executable, "-m", "dale.synthetic", *made], {"PYTHONPATH": store["PYTHONPATH"]})
    dataset = json.loads(dale("upload", lesions, "--json"))["id"]
    spec = ["--workers", nodes, "--epochs", epochs, "--image-size", 64, "--network-arguments", NETWORK]
    job_id = json.loads(dale("train", dataset, *spec, "--network", "UNet", "--json"))["id"]
    say(f"job {job_id} is posted; it asks for {nodes} workers")
    posted = time.monotonic()
    with Client(url, key) as client:
        job = _follow(trial, client, job_id)
    say(f"job {job_id} took {time.monotonic() - posted:.1f} s")
    placed = {int(rank): ip for ip, rank in PLACED.findall(dale("job", job_id, "--logs"))}
    say("placement: " + ", ".join(f"rank {rank} on {ip}" for rank, ip in sorted(placed.items())))
    if len(set(placed.values())) != nodes:
        raise TrialError(f"{nodes} workers on {len(set(placed.values()))} nodes")
    if job.epochs_done != epochs or job.attempt != 1:
        raise TrialError(f"epochs {job.epochs_done}, attempts {job.attempt}: something was lost or doubled")
    listing = "import os, sys; from workers.contract.store import open_store; "
    listing += "print(*open_store(os.environ['DALE_STORE_URL']).list(f'jobs/{sys.argv[1]}/'), sep='\\n')"
    say(f"the store holds {len(trial.python(listing, store, job_id).split())} objects of the job")
    dale("fetch", job_id, trial.folder / "model")
    files = sorted(path.name for path in Path(trial.folder / "model").iterdir())
    say(f"the model is fetched, its checksums agree: {', '.join(files)}")


def _follow(trial: Trial, client: Client, job_id: str) -> JobResource:
    """Wait for the end of the job; says its states."""
    said: State | None = None

    def not_over() -> str:
        nonlocal said
        job = client.job(job_id)
        if job.state != said:
            say(f"job: {job.state}")
            said = job.state
        return "" if job.state.terminal else f"it is {job.state}"

    trial.wait("the job's end", not_over, JOB_SECONDS)
    job = client.job(job_id)
    if job.state is not State.SUCCEEDED:
        raise TrialError(f"the job is {job.state}: {job.failure}\n{client.logs(job_id)[-3000:]}")
    return job
