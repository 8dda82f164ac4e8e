"""A large archive on its way to the service, in parts: what breaks off goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from service.client.asynchronous.waiting import in_thread, sleep
from service.client.errors import Refused, Unreachable, check, reaching
from service.client.files import Progress, sha256_of
from service.datasets.kinds import UploadState
from service.datasets.part_sizes import DEFAULT_PART, MOST_PARTS
from service.resources.uploads import PartTarget, UploadResource

TRIES = 5  # of each part
POLL_S = 1.0
PART_TIMEOUT = httpx.Timeout(60, read=300, write=300)


async def send_in_parts(
    http: httpx.AsyncClient,
    archive: Path,
    fields: dict[str, Any],
    *,
    project: str | None,
    resume: str | None,
    begun: Callable[[str], None],
    progress: Progress,
    headers: dict[str, str],
) -> str:
    """Send an archive and wait for its import.

    Args:
        http: carries the key; its base URL is the service's.
        archive: the zip.
        fields: name and options of the dataset.
        project: where the dataset goes; None: to that of the key.
        resume: id of an upload of the same file that broke off; None: a new one.
        begun: is told the upload's id, to go on with.
        progress: is told bytes sent and in all.
        headers: of the creating request.

    Returns:
        The dataset's id.

    Raises:
        ValueError: the upload to resume is of another file.
        Refused: the service said no, or the import failed; `errors` names every bad file.
        Unreachable: a part could not be sent, often enough.
    """
    size = archive.stat().st_size
    upload = await _resume(http, resume, size) if resume else await _begin(http, fields, size, headers, project)
    begun(upload.id)
    if upload.state in (UploadState.OPEN, UploadState.FAILED):
        with archive.open("rb") as file:
            for number in sorted(set(range(1, upload.parts + 1)) - set(upload.received)):
                file.seek((number - 1) * upload.part_size)
                content = await in_thread(file.read, upload.part_size)
                await _send(http, f"/v1/uploads/{upload.id}/parts/{number}", content)
                progress(file.tell(), size)
    progress(size, size)
    completion = {"sha256": await in_thread(sha256_of, archive)}
    complete = f"/v1/uploads/{upload.id}:complete"
    upload = await _ask(http, "POST", complete, json=completion, timeout=PART_TIMEOUT)
    while upload.state is UploadState.IMPORTING:
        await sleep(POLL_S)
        upload = await _ask(http, "GET", f"/v1/uploads/{upload.id}")
        if upload.interrupted:
            upload = await _ask(http, "POST", complete, json=completion, timeout=PART_TIMEOUT)
    if upload.dataset_id is None:
        raise Refused(422, "The import failed", f"{len(upload.errors)} reasons, see below.", upload.errors)
    return upload.dataset_id


async def _begin(
    http: httpx.AsyncClient, fields: dict[str, Any], size: int, headers: dict[str, str], project: str | None
) -> UploadResource:
    part_size = max(DEFAULT_PART, -(-size // MOST_PARTS))
    body = {**fields, "size": size, "part_size": part_size}
    query = {"project": project} if project else {}
    return await _ask(http, "POST", "/v1/uploads", json=body, params=query, headers=headers)


async def _resume(http: httpx.AsyncClient, upload_id: str, size: int) -> UploadResource:
    upload = await _ask(http, "GET", f"/v1/uploads/{upload_id}")
    if upload.size != size:
        raise ValueError(f"upload {upload_id} is of a file of {upload.size} bytes, this one has {size}")
    return upload


async def _send(http: httpx.AsyncClient, path: str, content: bytes) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            with reaching(str(http.base_url)):
                target = PartTarget.model_validate_json(check(await http.get(path)).content)
            # A signed address is the store's: the key, which is for the service alone, does not go there.
            with reaching(target.url.partition("?")[0]):
                if target.signed:
                    async with httpx.AsyncClient() as store:
                        check(await store.put(target.url, content=content, timeout=PART_TIMEOUT))
                else:
                    check(await http.put(target.url, content=content, timeout=PART_TIMEOUT))
            return
        except (Unreachable, Refused) as error:
            lasting = isinstance(error, Refused) and error.status < 500
            if lasting or attempt == TRIES:
                raise
            await sleep(2**attempt / 4)


async def _ask(http: httpx.AsyncClient, method: str, path: str, **options: Any) -> UploadResource:
    with reaching(str(http.base_url)):
        return UploadResource.model_validate_json(check(await http.request(method, path, **options)).content)
