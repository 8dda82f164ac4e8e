# Made from asynchronous/exports.py by `make client`: change that.
"""What the client does with exports and imports."""

from __future__ import annotations

from pathlib import Path

from service.client.connection import PATIENT, Connection
from service.client.errors import check, reaching
from service.client.queries import ALL, SampleQuery
from service.client.transfer import pieces
from service.client.wire import given, part
from service.exports.kinds import Format, Source
from service.resources.exports import Imported


class Exports(Connection):
    """Samples for other tools, and decisions from them."""

    def export(
        self,
        job_id: str,
        kind: Format,
        out: Path,
        *,
        wanted: SampleQuery = ALL,
        limit: int | None = None,
        all_masks: bool = False,
        masks: Source | None = None,
        image_root: str | None = None,
    ) -> Path:
        """Write a job's samples with scores and decisions, or masks, to a file, which appears only whole."""
        asked = {"format": kind, "limit": limit, "masks": masks, "image_root": image_root, **wanted.parameters()}
        asked |= {"all": True} if all_masks else {}
        self._write(f"/v1/jobs/{part(job_id)}/export", out, given(asked))
        return out

    def import_decisions(self, job_id: str, kind: Format, file: Path, *, force: bool = False) -> Imported:
        """Take decisions from a file that was exported and filled in; all of them, or none."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
        asked = given({"format": kind, "force": force})
        with file.open("rb") as content, reaching(self.url):
            url = f"/v1/jobs/{part(job_id)}/import"
            response = self._http.post(url, content=pieces(content), params=asked, headers=headers, timeout=PATIENT)
        return Imported.model_validate_json(check(response).content)
