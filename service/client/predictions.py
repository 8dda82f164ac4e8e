# Made from asynchronous/predictions.py by `make client`: change that.
"""What the client does with models that predict."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from service.client.errors import check, reaching
from service.client.files import stem, written
from service.client.models import Models
from service.client.wire import part
from workers.contract.outputs import Output

TIMEOUT = httpx.Timeout(600, connect=5)  # it may wait for its turn
ENDINGS = {"image/png": "png", "application/gzip": "nii.gz", "application/octet-stream": "npz"}


class Predictions(Models):
    """Masks of images and volumes."""

    def describe(self, model: str) -> dict[str, Any]:
        """A model's `model.json`: among others `files` (how many an image has), `channels`, `mask_values`."""
        url = f"/v1/models/{part(self.model_id(model))}/files/model.json"
        with reaching(self.url):
            answer = check(self._http.get(url, follow_redirects=True))
        about: dict[str, Any] = json.loads(answer.content)
        return about

    def predict(
        self,
        model: str,
        files: Path | Sequence[Path],
        folder: Path,
        *,
        outputs: Sequence[Output | str] = (Output.MASK,),
        name: str | None = None,
        flips: bool = False,
    ) -> dict[Output, Path]:
        """Have a model say what is in an image or a volume, and write the answers on its own grid.

        Args:
            model: id of the job that trained it, or `name:3`, `name:production`.
            files: PNG, JPEG, TIFF or NIfTI; of several channels one each, in their order.
            folder: for the answers.
            outputs: what to ask for. The mask becomes `<name>.png` or `.nii.gz`; probabilities
                `<name>_probabilities.npz` or `.nii.gz`, uncertainty `<name>_uncertainty.png` or `.nii.gz`.
            name: of the answers; else that of the first file.
            flips: mean over all mirror images, which takes 4 times as long, of a volume 8 times.

        Returns:
            The files that were written.

        Raises:
            ValueError: an answer would take the place of a file that it is made from.
            Refused: the model cannot predict, or the files are not what it takes; nothing is written.
        """
        sources = [files] if isinstance(files, Path) else list(files)
        wanted = [Output(output) for output in dict.fromkeys(outputs)]
        url = f"/v1/models/{part(self.model_id(model))}:predict"
        with ExitStack() as stack, reaching(self.url):
            parts = [("file", (path.name, stack.enter_context(path.open("rb")))) for path in sources]
            answer = check(
                self._http.post(url, params={"output": wanted, "flips": flips}, files=parts, timeout=TIMEOUT)
            )
        named = {
            output: (f"{name or stem(sources[0])}{'' if output is Output.MASK else f'_{output}'}.{ending}", content)
            for output, ending, content in _contents(answer, wanted)
        }
        places = {path.resolve() for path in sources}
        for target, _ in named.values():
            if (folder / target).resolve() in places:
                raise ValueError(f"{folder / target} is what it is made from: choose another folder for the answers")
        return {output: written(folder, target, content) for output, (target, content) in named.items()}


def _contents(answer: httpx.Response, wanted: Sequence[Output]) -> list[tuple[Output, str, bytes]]:
    """Each output with the ending of its file."""
    if len(wanted) == 1:
        kind = answer.headers["content-type"].partition(";")[0]
        return [(wanted[0], ENDINGS.get(kind, "bin"), answer.content)]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        members = {member.partition(".")[0]: member for member in archive.namelist()}
        return [(output, members[output].partition(".")[2], archive.read(members[output])) for output in wanted]
