"""Predictions in turns: a few at a time in threads of their own, some waiting, the others told to come back."""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio
import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

from service.datasets.limits import ImportLimits
from service.errors import FieldError, Invalid, PayloadTooLarge, ServiceError, TooManyRequests
from service.metrics import Metrics
from service.predictions.inputs import SentFile, checked
from service.predictions.limits import PredictionLimits
from service.predictions.sessions import Loaded, ModelFile, Sessions
from workers.contract import inference
from workers.contract.answers import Answer, answer
from workers.contract.flips import over_flips
from workers.contract.outputs import Output
from workers.contract.store import ObjectStore

COME_BACK_S = 2


class Predictor:
    """What predicts in one process of the service.

    Args:
        store: where models are.
        limits: how much it does.
        at_import: what images and volumes of datasets may be; the same holds here.
        metrics: where predictions are counted.
    """

    def __init__(self, store: ObjectStore, limits: PredictionLimits, at_import: ImportLimits, metrics: Metrics) -> None:
        self.limits = limits
        self._at_import, self._metrics = at_import, metrics
        self._sessions = Sessions(store, limits)
        self._turns = anyio.CapacityLimiter(limits.concurrent)

    def check_room(self) -> None:
        """Refuse before a body is received what could not be done after it.

        Raises:
            TooManyRequests: as many wait as may.
        """
        turns = self._turns.statistics()
        if turns.borrowed_tokens >= turns.total_tokens and turns.tasks_waiting >= self.limits.waiting:
            self._metrics.predictions.labels("busy").observe(0)
            many = f"{turns.tasks_waiting} predictions wait for their turn already"
            raise TooManyRequests(f"{many}. Try again in {COME_BACK_S} s.", retry_after=COME_BACK_S)

    async def predict(
        self, file: ModelFile, sent: Sequence[SentFile], outputs: Sequence[Output], *, flips: bool = False
    ) -> Answer:
        """What a model says of one image or volume; with `flips` the mean over its mirror images.

        Raises:
            TooManyRequests: as many wait as may.
            Invalid: the files are not what the model takes.
            PayloadTooLarge: it takes longer than is allowed.
            Conflict: the model is too large to be loaded.
            NotFound: its file is gone, or damaged.
        """
        self.check_room()
        return await anyio.to_thread.run_sync(self._predict, file, sent, outputs, flips, limiter=self._turns)

    def _predict(self, file: ModelFile, sent: Sequence[SentFile], outputs: Sequence[Output], flips: bool) -> Answer:
        began, outcome = time.monotonic(), "failed"
        try:
            model = self._sessions.get(file)
            made = self._answer(model, sent, outputs, flips, began + self.limits.seconds)
            outcome = "done"
        except ServiceError:
            outcome = "refused"
            raise
        finally:
            self._metrics.predictions.labels(outcome).observe(time.monotonic() - began)
        return made

    def _answer(
        self, model: Loaded, sent: Sequence[SentFile], outputs: Sequence[Output], flips: bool, end: float
    ) -> Answer:
        def network(images: NDArray[np.float32]) -> NDArray[np.float32]:
            if time.monotonic() > end:
                hint = (
                    "cut it to the part that matters, or download the model's onnx.zip: predict.py in it has no limit"
                )
                fault = FieldError(file=sent[0].name, reason="there is too much of it", hint=hint)
                raise PayloadTooLarge(
                    f"A prediction may take {self.limits.seconds:.0f} s; this one takes more.", [fault]
                )
            return model(images)

        paths = checked(model.about, sent, self.limits, self._at_import)
        try:
            found = inference.predict(model.about, over_flips(network) if flips else network, paths)
        except (OSError, ValueError) as error:  # what the checks before do not look at: all of a volume's voxels
            fault = FieldError(
                file=sent[0].name,
                field="file",
                reason=str(error),
                hint="check that it opens elsewhere, and save it anew",
            )
            raise Invalid("What was sent cannot be used.", [fault]) from error
        return answer(found, outputs, paths[0])
