"""Label Studio's run lengths of brush strokes: a picture's values, four a pixel, as a stream of bits.

The packing is that of thi.ng's rle-pack: 32 bits say how many values, 5 bits how long one is, four times 4 bits how
long a run's length may be (each less 1). Then runs: 1 bit whether one value is repeated, 2 bits which of the four sizes
the length has, the length less 1, and the one value or as many as it says. The fourth value of a pixel is its opacity.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
CHANNELS = 4
WORD = 8
SIZES = (3, 4, 8, 16)  # bits of a run's length, as Label Studio's own tools write them
LONGEST = 1 << SIZES[-1]
HEAD = 32 + 5 + 4 * len(SIZES)


def encode(mask: Bools) -> list[int]:
    """The bytes of a mask, (H, W)."""
    flat = mask.ravel()
    bounds = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    lengths = np.diff(bounds) * CHANNELS
    drawn = flat[bounds[:-1]] if flat.size else flat
    pieces = [f"{flat.size * CHANNELS:032b}{WORD - 1:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    for length, value in zip(lengths.tolist(), drawn.tolist(), strict=True):
        word = f"{255 * value:08b}"
        left = length
        while left:
            run = min(left, LONGEST)
            which = next(place for place, size in enumerate(SIZES) if run <= 1 << size)
            pieces.append(f"1{which:02b}{run - 1:0{SIZES[which]}b}{word}")
            left -= run
    bits = "".join(pieces)
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def decode(packed: Sequence[int], height: int, width: int) -> Bools:
    """The mask of such bytes, (H, W): where the fourth value is not 0.

    Raises:
        ValueError: they are no values of a picture of this size.
    """
    try:
        data = bytes(packed)
    except (TypeError, ValueError) as error:
        raise ValueError("the brush's RLE has numbers that are no bytes") from error
    bits = _Bits(data)
    count = bits.take(32)
    if count != height * width * CHANNELS:
        raise ValueError(f"the brush's RLE has {count} values, not those of {height} x {width} pixels")
    if (word := bits.take(5) + 1) != WORD:
        raise ValueError(f"the brush's RLE has values of {word} bits, not {WORD}")
    sizes = [bits.take(4) + 1 for _ in SIZES]
    values = np.zeros(count, np.uint8)
    place = 0
    while place < count:
        repeated = bits.take(1)
        end = place + bits.take(sizes[bits.take(2)]) + 1
        if end > count:
            raise ValueError("the brush's RLE has more values than it says")
        values[place:end] = bits.take(WORD) if repeated else bits.words(end - place)
        place = end
    drawn: Bools = values.reshape(height, width, CHANNELS)[..., -1] != 0
    return drawn


class _Bits:
    """A stream of bits; what is not there raises `ValueError`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> int:
        """The next bits as a number; at most 32."""
        start, end = self._at, self._at + count
        if end > 8 * len(self._data):
            raise ValueError("the brush's RLE ends too early")
        self._at = end
        last = (end + 7) // 8
        return int.from_bytes(self._data[start // 8 : last], "big") >> (8 * last - end) & ((1 << count) - 1)

    def words(self, count: int) -> NDArray[np.uint8]:
        """The next numbers of 8 bits, (count,)."""
        start, end = self._at, self._at + count * WORD
        if end > 8 * len(self._data):
            raise ValueError("the brush's RLE ends too early")
        self._at = end
        some = np.frombuffer(self._data[start // 8 : (end + 7) // 8], np.uint8)
        return np.packbits(np.unpackbits(some)[start % 8 : start % 8 + count * WORD])
