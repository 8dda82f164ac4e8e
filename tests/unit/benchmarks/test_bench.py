"""The figures of `make bench`: one is renewed and the others kept; the simulated exchange counts what is carried."""

import json
from pathlib import Path

import pytest

from tests.benchmarks import bench, exchange


def test_one_figure_is_renewed_and_the_others_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([2.0, 3.0, 4.0])

    def measure(name: str) -> dict[str, bench.Figure]:
        return {name: bench.Figure(value := next(values), "s", "a limit of 2 s", value / 2)}

    monkeypatch.setattr(bench, "BENCHMARKS", {name: lambda name=name: measure(name) for name in ("a", "b")})
    out = tmp_path / "build" / "bench.json"
    bench.main(["--out", str(out)])
    assert {name: figure["value"] for name, figure in json.loads(out.read_text()).items()} == {"a": 2.0, "b": 3.0}
    bench.main(["--out", str(out), "--only", "a"])
    assert json.loads(out.read_text()) == {
        "a": {"value": 4.0, "unit": "s", "against": "a limit of 2 s", "ratio": 2.0},
        "b": {"value": 3.0, "unit": "s", "against": "a limit of 2 s", "ratio": 1.5},
    }


def test_the_simulated_exchange_runs_and_counts_its_rows() -> None:
    cost = exchange.simulate(3001, ranks=2)
    assert cost.bytes_sent == 1501 * (8 + 4 + 8 + 4 * 4) // 2  # half of a rank's rows go to the other
    assert list(cost.seconds) == list(exchange.PARTS)
    assert min(cost.seconds.values()) > 0
    assert cost.mebibytes > 0
