"""`dale demo`: the main job, end to end, on this machine: spoil labels, train, and see whether they are found.

It does what a user does, over HTTP and by commands in processes of their own; nothing is imported from the
training side. Everything lies in a temporary folder and is gone at the end.
"""

from __future__ import annotations

import csv
import json
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from service import ranking
from service.child import ServiceDiedError, environment, running_service, sigterm_interrupts
from service.cli import following, terminal
from service.cli.packing import PARTS, as_archive
from service.client import Client, JobSpec
from service.jobs.lifecycle import State
from service.resources.jobs import JobResource
from service.resources.samples import SampleResource
from workers.contract.request import DaleMethod, NetworkSpec

SAMPLES = 240
HELD_OUT = 24
RATIO = 0.25
SHOWN = 15
# A model below this Dice on held-out images has learned nothing worth showing. Own data may be harder than ours.
FLOOR_SYNTHETIC = 0.6
FLOOR_OWN = 0.1


class DemoFailedError(Exception):
    """A step did not do what it should; says which and why."""


@dataclass(frozen=True)
class Truth:
    """What was done to a label."""

    kind: str
    dice: float

    @property
    def faulty(self) -> bool:
        """Whether anything was."""
        return self.kind != "clean"


def run(data: Path | None, *, keep: bool) -> int:
    """Run the demonstration; returns the exit code."""
    began = time.monotonic()
    key = secrets.token_urlsafe(32)
    try:
        with (
            terminal.expected_errors(),
            sigterm_interrupts(),
            tempfile.TemporaryDirectory(prefix="dale-demo-") as scratch,
            running_service(Path(scratch) / "data", key) as url,
            Client(url, key) as dale,
        ):
            terminal.say(f"The service runs at {url}; all that it keeps is temporary.")
            job = _main_job(dale, Path(scratch), data)
            page = f"{url}/login?next=/jobs/{job.id}#{key}"
            terminal.say(f"Done after {terminal.duration(time.monotonic() - began)}.", "green")
            if keep:
                terminal.say(f"Look at the labels, until Ctrl-C: {page}", "bold")
                threading.Event().wait()
            terminal.say(f"The review page was {page}")
            terminal.say("To look at it, leave the service running at the end: dale demo --keep")
    except (ServiceDiedError, DemoFailedError) as error:
        terminal.complain(str(error))
        return terminal.JOB_FAILED
    except KeyboardInterrupt:
        terminal.say("Stopped, with all that was started.")
        return terminal.INTERRUPTED
    return terminal.OK


def _main_job(dale: Client, folder: Path, data: Path | None) -> JobResource:
    noisy = folder / "noisy"
    truth = _make_data(noisy, data)
    with as_archive(noisy) as archive:
        dataset = dale.upload(archive, name=f"{data.resolve().name if data else 'synthetic lesions'}, spoilt")
    terminal.say(f"Uploaded as {dataset.id}, version 1: {dataset.newest.sample_count} samples.")
    job = dale.train(_spec(dataset.id))
    terminal.say(f"Training on 2 workers as {job.id}.")
    job = following.follow(dale, job)
    if job.state is not State.SUCCEEDED:
        cause = f"{job.failure.cause} {job.failure.hint}" if job.failure else "no cause is known."
        raise DemoFailedError(f"The job ended as {job.state}: {cause}\n{dale.logs(job.id)[-2000:]}")
    _show_ranking(list(dale.samples(job.id)), truth)
    _check_model(dale, job, folder, FLOOR_OWN if data else FLOOR_SYNTHETIC)
    return job


def _make_data(noisy: Path, data: Path | None) -> dict[str, Truth]:
    """Make the folder to upload; what is known of its labels stays here."""
    shared = ["--out", str(noisy), "--ratio", str(RATIO), "--seed", "0"]
    if data is None:
        command = ["dale.synthetic", *shared, "--samples", str(SAMPLES), "--hold-out", str(HELD_OUT)]
    else:
        missing = [part for part in PARTS if not (data / part).is_dir()]
        if missing:
            raise ValueError(f"{data} has no folder {' and no folder '.join(missing)}; files are paired by name.")
        held_out = min(HELD_OUT, sum(1 for _ in (data / "masks").iterdir()) // 10)
        command = ["dale.noise", "--data", str(data.resolve()), *shared]
        command += ["--limit", str(SAMPLES), "--hold-out", str(max(1, held_out))]
    said = _command(*command).strip().partition(": ")[2]
    terminal.say(f"Made data: {said}.")
    with (noisy / "truth.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: Truth(row["kind"], float(row["dice"])) for row in csv.DictReader(file)}


def _spec(dataset_id: str) -> JobSpec:
    """Small enough for minutes on two cores, long enough that confidence has something to say."""
    return JobSpec(
        dataset_id=dataset_id,
        name="demonstration",
        network=NetworkSpec(name="UNet", arguments={"channels": [12, 24, 48, 96], "strides": [2, 2, 2]}),
        method=DaleMethod(),
        epochs=40,
        batch_size=16,
        image_size=64,
        workers=2,
    )


def _show_ranking(samples: Sequence[SampleResource], truth: Mapping[str, Truth]) -> None:
    """The most doubted samples beside the truth, and how good the ranking is as a whole."""
    table = Table(title=f"The {min(SHOWN, len(samples))} most doubted labels, beside the truth")
    for column in ("rank", "sample", "confidence", "score", "what was done to it", "Dice to the true mask"):
        table.add_column(column, overflow="fold")
    for sample in samples[:SHOWN]:
        known = truth[sample.sample]
        done = Text(known.kind, "red" if known.faulty else "green")
        numbers = (f"{sample.confidence:.3f}", f"{sample.score:.3f}")
        table.add_row(str(sample.rank), Text(sample.sample), *numbers, done, f"{known.dice:.2f}")
    terminal.out().print(table)
    scores = [sample.score for sample in samples]
    faulty = [truth[sample.sample].faulty for sample in samples]
    k = sum(faulty)
    hits = round(ranking.precision_at(scores, faulty, k) * k)
    terminal.say(f"Of the {k} most doubted labels {hits} are really corrupted ({hits / k:.0%}; by chance {RATIO:.0%}).")
    auroc, precision = ranking.auroc(scores, faulty), ranking.average_precision(scores, faulty)
    terminal.say(f"AUROC {auroc:.3f}, average precision {precision:.3f}. Longer training on more images finds more.")


def _check_model(dale: Client, job: JobResource, folder: Path, floor: float) -> None:
    """Fetch the model and try it on images that it has never seen, whose masks nobody spoilt."""
    files = dale.fetch(job.id, folder / "model")
    held_out = folder / "noisy" / "heldout"
    answer = _command(
        *("workers.predict", "--model", str(folder / "model"), "--images", str(held_out / "images")),
        *("--masks", str(held_out / "masks"), "--out", str(folder / "predicted")),
    )
    scores = json.loads(answer.strip().splitlines()[-1])
    mean = scores["mean_dice"]
    count = len(scores["dice"])
    terminal.say(f"Fetched the model ({len(files)} files); on {count} held-out images its mean Dice is {mean:.3f}.")
    if mean < floor:
        raise DemoFailedError(f"The model is not good: a mean Dice of at least {floor} was expected.")


def _command(module: str, *arguments: str) -> str:
    """Run one of our modules as a user would; returns what it said."""
    done = subprocess.run(  # noqa: S603 - our own modules
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, env=environment(), check=False
    )
    if done.returncode:
        raise DemoFailedError(f"python -m {module} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout
