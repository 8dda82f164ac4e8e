"""The grids: every run is a command that the benchmark understands, and a dry run starts nothing."""

from pathlib import Path

import pytest

from tests.benchmarks.robustness import __main__ as benchmark
from tests.benchmarks.robustness import grid
from tests.benchmarks.robustness.methods import METHODS
from workers.contract.request import DaleMethod


@pytest.mark.parametrize("name", grid.GRIDS)
def test_every_run_is_understood(name: str) -> None:
    for block in grid.GRIDS[name]():
        words = grid.command(block, 1, Path("root"), Path("out.json"), "cpu")[3:]
        options = benchmark.parse(words)
        assert (options.data, options.noise, options.seeds) == (Path("root") / block.data, block.noise, "1")
        for method in options.methods.split(";"):
            known, _, given = method.partition(":")
            assert known in METHODS
            if known == "dale":
                DaleMethod.model_validate(dict(pair.split("=") for pair in given.split(",") if pair))


def test_failed_runs_are_counted_and_do_not_stop_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without the data every run fails, and says why."""
    words = ["review", "--root", str(tmp_path), "--out", str(tmp_path / "out.json"), "--jobs", "3"]
    assert grid.main([*words, "--dry-run"]) == 0
    assert grid.main(words) == 3
    printed = capfd.readouterr()
    assert printed.out.count("--seeds") == 6
    assert "kvasir_seg" in printed.err
