"""`make bench`: the quick benchmarks, as ratios against a peer or a limit, into `build/bench.json`.

The file maps names to `{"value", "unit", "against", "ratio"}`; `ratio` is the value over what `against` names, both
measured in the same run. `make bench ONLY=name` renews one figure and keeps the others.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.benchmarks import databases, ddp, exchange, exports, grid_frames, predictions, review_effort, server, startup


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        value: what was measured.
        unit: of the value.
        against: what it is compared with.
        ratio: the value over that.
    """

    value: float
    unit: str
    against: str
    ratio: float


def step_over_ddp(*, compiled: bool | None = None) -> dict[str, Figure]:
    """A DALE step, everything of the default recipe acting."""
    ratio = float(np.median(ddp.time_ratios("dale", 1, compiled)))
    against = "a bare DDP step of the same network and batch, not compiled"
    return {f"step_over_ddp{'_uncompiled' * (compiled is False)}": Figure(ratio, "steps", against, ratio)}


def two_workers_over_torchrun(*, compiled: bool | None = None) -> dict[str, Figure]:
    """Throughput of two workers; plain training, so that the ratio is of the distribution alone."""
    ratio = 1 / float(np.median(ddp.time_ratios("plain", 2, compiled)))
    against = "throughput of a bare DDP loop on two processes, not compiled"
    return {
        f"two_workers_over_torchrun{'_uncompiled' * (compiled is False)}": Figure(ratio, "throughputs", against, ratio)
    }


def post_to_first_step() -> dict[str, Figure]:
    """From POST to the first step on a warm cluster."""
    ours, peer = startup.time_ratios()
    seconds, ratio = float(np.median(ours)), float(np.median(ours / peer))
    return {"post_to_first_step_over_actors": Figure(seconds, "s", "two bare Ray actors with DDP", ratio)}


def exchange_1e6() -> dict[str, Figure]:
    """An epoch's exchange for a million samples; the peer is ten times that of a hundred thousand."""
    tenth, whole = exchange.simulate(100_000), exchange.simulate(1_000_000)
    seconds, before = sum(whole.seconds.values()), sum(tenth.seconds.values())
    linear = "linear growth from 10^5 samples on 8 ranks"
    return {
        "exchange_1e6_s": Figure(seconds, "s", linear, seconds / (10 * before)),
        "memory_per_rank_1e6_mib": Figure(whole.mebibytes, "MiB", linear, whole.mebibytes / (10 * tenth.mebibytes)),
    }


def database(kind: str) -> dict[str, Figure]:
    """A job of 200,000 samples and 50 epochs: its pages by confidence, and taking one more epoch in."""
    found = databases.measure(kind)
    page, tail = np.median(found.listing, 0), np.quantile(found.listing, 0.99, axis=0)
    ingestion = found.ingestion
    driver = "the same page from the database's driver"
    bare = f"{'executemany' if kind == 'sqlite' else 'COPY'} of the epoch into the history alone"
    return {
        f"list_over_sql_{kind}": Figure(1e3 * page[0], "ms, median", driver, page[0] / page[1]),
        f"list_p99_over_sql_{kind}": Figure(1e3 * tail[0], "ms, p99", driver, tail[0] / tail[1]),
        f"ingest_over_copy_{kind}": Figure(
            float(np.median(ingestion[:, 0])), "s", bare, float(np.median(ingestion[:, 0] / ingestion[:, 1]))
        ),
    }


def upload() -> dict[str, Figure]:
    """An upload of images and masks, checked file by file."""
    seconds, size = server.time_uploads()
    ratio = float(np.median(seconds[:, 1] / seconds[:, 0]))
    rate = size / 1e6 / float(np.median(seconds[:, 0]))
    return {"upload_over_copy": Figure(rate, "MB/s", "throughput of a copy of the files to the same store", ratio)}


def starts() -> dict[str, Figure]:
    """The API server, started and idle."""
    seconds, mebibytes = server.measure_starts()
    against = "a bare FastAPI application"
    return {
        "api_start_s": Figure(
            float(np.median(seconds[:, 0])), "s", against, float(np.median(seconds[:, 0] / seconds[:, 1]))
        ),
        "idle_memory_mib": Figure(
            float(np.median(mebibytes[:, 0])), "MiB", against, float(np.median(mebibytes[:, 0] / mebibytes[:, 1]))
        ),
    }


def review() -> dict[str, Figure]:
    """600 synthetic lesions, 60 labels corrupted: the share that somebody looks at until 90 % of these are found."""
    found = review_effort.efforts(review_effort.case(None, seed=0, epochs=40))
    peer, against = found["cleanlab_in_sample"], "cleanlab's order after plain training"
    return {
        name: Figure(found[method], "share of the labels", against, found[method] / peer)
        for name, method in (("review_effort_90", "dale"), ("review_effort_90_plain", "plain"))
    }


def grid() -> dict[str, Figure]:
    """The review grid over 100,000 samples, scrolled in a browser; for memory the peer is a hundredth of them."""
    few, many = grid_frames.measure(grid_frames.FEW), grid_frames.measure()
    tail = float(np.quantile(many.frames, 0.95))
    return {
        "grid_frame_ms_p95": Figure(tail, "ms, p95", "16.7 ms, a frame of 60 a second", tail / 16.7),
        "grid_heap_mib": Figure(many.heap, "MiB", "the same page over 1,000 samples", many.heap / few.heap),
    }


def export_differences() -> dict[str, Figure]:
    """All exports of a model of images and of one of volumes, compared as a job compares them."""
    found = exports.max_difference()
    against = "what is allowed before an export is not published"
    return {"export_max_difference": Figure(found, "probability", against, found / exports.TOLERANCE)}


def predicting() -> dict[str, Figure]:
    """Images of 256² pixels predicted over HTTP, eight requests in flight, beside onnxruntime on their arrays."""
    rates = predictions.measure()
    ours = float(np.median(rates[:, 0]))
    bare, script = np.median(rates[:, :1] / rates[:, 1:], axis=0)
    with_files = "the same and what is done before and after it, from file to mask, in as many threads"
    return {
        "predict_over_onnxruntime": Figure(
            ours, "images/s", "onnxruntime on arrays, as many calls in flight", float(bare)
        ),
        "predict_over_script": Figure(ours, "images/s", with_files, float(script)),
    }


SQLITE, POSTGRES = partial(database, "sqlite"), partial(database, "postgres")
BENCHMARKS: dict[str, Callable[[], dict[str, Figure]]] = {
    "step_over_ddp": step_over_ddp,
    "step_over_ddp_uncompiled": partial(step_over_ddp, compiled=False),
    "two_workers_over_torchrun": two_workers_over_torchrun,
    "two_workers_over_torchrun_uncompiled": partial(two_workers_over_torchrun, compiled=False),
    "post_to_first_step_over_actors": post_to_first_step,
    "exchange_1e6_s": exchange_1e6,
    "memory_per_rank_1e6_mib": exchange_1e6,
    "upload_over_copy": upload,
    "list_over_sql_sqlite": SQLITE,
    "list_over_sql_postgres": POSTGRES,
    "ingest_over_copy_sqlite": SQLITE,
    "ingest_over_copy_postgres": POSTGRES,
    "grid_frame_ms_p95": grid,
    "grid_heap_mib": grid,
    "idle_memory_mib": starts,
    "api_start_s": starts,
    "review_effort_90": review,
    "export_max_difference": export_differences,
    "review_effort_90_plain": review,
    "predict_over_onnxruntime": predicting,
    "predict_over_script": predicting,
}


def main(arguments: list[str] | None = None) -> None:
    """Run all benchmarks, or one, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, help="renew this figure alone")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args(arguments)
    figures: dict[str, dict[str, object]] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for benchmark in dict.fromkeys([BENCHMARKS[options.only]] if options.only else BENCHMARKS.values()):
        figures |= {name: asdict(figure) for name, figure in benchmark().items()}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    table = Table()
    for heading in ("", "value", "unit", "against", "ratio"):
        table.add_column(heading)
    for name, figure in figures.items():
        table.add_row(
            name, f"{figure['value']:.3g}", *(str(figure[key]) for key in ("unit", "against")), f"{figure['ratio']:.2f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
