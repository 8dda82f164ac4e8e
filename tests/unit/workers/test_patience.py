"""An outage of the store pauses a run; a refusal ends it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers import patience
from workers.contract.store import ObjectMissing, StoreRefuses, StoreUnavailable, open_store
from workers.patience import PatientStore


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Outage:
    """A store that fails until a time has come."""

    def __init__(self, folder: Path, clock: Clock, until: float, error: type[StoreUnavailable]) -> None:
        self._store, self._clock, self._until, self._error = open_store(f"file://{folder}"), clock, until, error

    def __getattr__(self, name: str) -> object:
        if self._clock.now < self._until:
            raise self._error("away")
        return getattr(self._store, name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


def test_an_outage_is_waited_for(tmp_path: Path, clock: Clock) -> None:
    store = PatientStore(Outage(tmp_path, clock, 60, StoreUnavailable), patience=300)  # type: ignore[arg-type]
    store.put("a/b", b"content")
    assert 60 <= clock.now <= 60 + patience.LONGEST_PAUSE_SECONDS
    assert store.get("a/b") == b"".join(store.read("a/b")) == b"content"
    assert (store.size("a/b"), store.exists("a/b"), list(store.list("a/"))) == (7, True, ["a/b"])
    store.delete("a/b")
    with pytest.raises(ObjectMissing):  # an answer, not an outage
        store.get("a/b")


def test_patience_ends(tmp_path: Path, clock: Clock) -> None:
    store = PatientStore(Outage(tmp_path, clock, 1000, StoreUnavailable), patience=20)  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable, match="away"):
        store.get("a/b")
    assert clock.now <= 20


def test_a_refusal_is_not_waited_for(tmp_path: Path, clock: Clock) -> None:
    store = PatientStore(Outage(tmp_path, clock, 1000, StoreRefuses), patience=20)  # type: ignore[arg-type]
    with pytest.raises(StoreRefuses):
        store.get("a/b")
    assert clock.now == 0


@pytest.mark.parametrize("method", ["put", "put_file"])
@pytest.mark.parametrize("kept", [0, 4])
def test_what_did_not_arrive_whole_is_written_again(
    tmp_path: Path, clock: Clock, method: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As seen of an older S3 server: the upload succeeds, and the object is not there."""
    inner = open_store(f"file://{tmp_path}/store")
    put, losses = inner.put, iter([True, True, False])

    def lossy(key: str, data: bytes, content_type: str = "") -> None:
        if not next(losses):
            put(key, data)
        elif kept:
            put(key, data[:kept])

    monkeypatch.setattr(inner, "put", lossy)
    monkeypatch.setattr(inner, "put_file", lambda key, path, content_type="": lossy(key, path.read_bytes()))
    (tmp_path / "file").write_bytes(b"content")
    getattr(PatientStore(inner), method)("a/b", b"content" if method == "put" else tmp_path / "file")
    assert inner.get("a/b") == b"content"
    assert clock.now > 0
