"""What the client does with exports and imports."""

from __future__ import annotations

from pathlib import Path

import httpx

from service.client.connection import Connection
from service.client.errors import check, reaching
from service.client.transfer import CountedFile
from service.client.wire import given, part
from service.exports.kinds import Format, Source
from service.resources.exports import Imported
from service.reviews.decisions import Decision

PATIENT = httpx.Timeout(None, connect=5)  # how long it takes depends on the number of samples


class Exports(Connection):
    """Samples for other tools, and decisions from them."""

    def export(
        self,
        job_id: str,
        kind: Format,
        out: Path,
        *,
        decision: Decision | None = None,
        score_max: float | None = None,
        limit: int | None = None,
        all_masks: bool = False,
        masks: Source | None = None,
        image_root: str | None = None,
    ) -> Path:
        """Write a job's samples with scores and decisions, or masks, to a file, which appears only whole."""
        asked = given(
            {"format": kind, "decision": decision, "score_max": score_max, "limit": limit, "masks": masks}
            | {"image_root": image_root}
            | ({"all": True} if all_masks else {})
        )
        url = f"/v1/jobs/{part(job_id)}/export"
        partial = out.with_name(f".{out.name}.partial")
        try:
            with reaching(self.url), self._http.stream("GET", url, params=asked, timeout=PATIENT) as response:
                check(response)
                with partial.open("wb") as sink:
                    for chunk in response.iter_bytes():
                        sink.write(chunk)
            return partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)

    def import_decisions(self, job_id: str, kind: Format, file: Path, *, force: bool = False) -> Imported:
        """Take decisions from a file that was exported and filled in; all of them, or none."""
        headers = {"Content-Type": "application/octet-stream"}
        asked = given({"format": kind, "force": force})
        with CountedFile(file, None) as content, reaching(self.url):
            url = f"/v1/jobs/{part(job_id)}/import"
            response = self._http.post(url, content=content, params=asked, headers=headers, timeout=PATIENT)
        return Imported.model_validate_json(check(response).content)
