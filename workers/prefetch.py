"""Batches prepared in the background while the device computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import torch
from torch import Tensor

from workers.data import Batches

Loaded: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]

THREADS = 2  # decoding and waiting for the store release Python's lock
AHEAD = 4  # batches that are under way or lie ready


def prefetch(
    samples: Batches, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> Generator[Loaded, None, None]:
    """Load batches ahead of their use, in their order. Its threads end with it: use it with `contextlib.closing`.

    Args:
        samples: what to take from; several threads ask at once.
        batches: ordinals (b,) and weights (b,) of each batch.
        device: that computes; for a GPU the pixels lie in pinned memory, so that they are copied while it works.

    Yields:
        Images (b, channels, *spatial) and class indices (b, *spatial) as `samples` gives them; ordinals and weights.

    Raises:
        Exception: what `samples` raised for a batch, when it is that batch's turn.
    """

    def load(ordinals: Tensor, weights: Tensor) -> Loaded:
        images, labels = samples.batch(ordinals)
        if device.type == "cuda":
            images, labels = images.pin_memory(), labels.pin_memory()
        return images, labels, ordinals, weights

    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="prefetch")
    waiting: deque[Future[Loaded]] = deque()
    try:
        for ordinals, weights in batches:
            waiting.append(pool.submit(load, ordinals, weights))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
