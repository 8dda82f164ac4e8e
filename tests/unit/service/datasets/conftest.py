import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from structlog.testing import capture_logs

from service.datasets.archive import Archive
from service.datasets.checked import CheckedDataset
from service.datasets.checking import Progress, check
from service.datasets.limits import ImportLimits
from service.datasets.options import ImportOptions
from service.errors import FieldError, Invalid


def encode(pixels: Any, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    image = Image.fromarray(np.asarray(pixels))
    sink = io.BytesIO()
    (image.convert(mode) if mode else image).save(sink, kind, **options)
    return sink.getvalue()


def photo(seed: int = 0, size: tuple[int, int] = (20, 30), kind: str = "PNG", **options: Any) -> bytes:
    height, width = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encode(pixels, kind, **options)


def disc(value: int = 255, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.where((rows - 10) ** 2 + (columns - 12) ** 2 < 36, value, 0).astype(np.uint8)


def make_zip(members: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", packing) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)  # of a fixed date: the same members make the same bytes
            info.external_attr = 0o600 << 16
            archive.writestr(info, data, packing)
    sink.seek(0)
    return sink


def good(count: int = 3) -> dict[str, bytes]:
    members = {}
    for number in range(count):
        members[f"images/case {number}.png"] = photo(number)
        members[f"masks/case {number}.png"] = encode(np.roll(disc(), number, axis=0))
    return members


class Upload:
    """Builders and the check itself, in one fixture: test modules cannot import from each other."""

    encode, photo, disc, zip, good = map(staticmethod, (encode, photo, disc, make_zip, good))

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def check(
        self,
        members: dict[str, bytes] | io.BytesIO,
        limits: ImportLimits | None = None,
        progress: Progress = lambda done, total: None,
        **options: Any,
    ) -> CheckedDataset:
        limits = limits or ImportLimits()
        file = make_zip(members) if isinstance(members, dict) else members
        return check(Archive(file, limits), limits, ImportOptions(**options), self.scratch, progress)

    def faults(self, *args: Any, **kwargs: Any) -> dict[str | None, FieldError]:
        with pytest.raises(Invalid) as refused:
            self.check(*args, **kwargs)
        assert refused.value.errors, "a refusal must say what is wrong"
        return {fault.file: fault for fault in refused.value.errors}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The console's pretty tracebacks would print whole uploads, for half a minute each."""
    with capture_logs():
        yield


@pytest.fixture
def upload(tmp_path: Path) -> Upload:
    return Upload(tmp_path)


@pytest.fixture
def break_bytes() -> Callable[[bytes, int], bytes]:
    """Damage a file: cut it or flip some bits, by seed."""

    def damage(data: bytes, seed: int) -> bytes:
        random = np.random.default_rng(seed)
        broken = bytearray(data)
        for place in random.integers(0, len(broken), random.integers(1, 12)):
            broken[place] ^= int(random.integers(1, 256))
        return bytes(broken[: random.integers(1, len(broken) + 1)] if seed % 2 else broken)

    return damage
