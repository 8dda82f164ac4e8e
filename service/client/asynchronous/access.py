"""What the client does with projects, keys and the audit trail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

from service.client.asynchronous.connection import Connection
from service.client.errors import check, reaching
from service.client.wire import given, idempotency, keys_url, part
from service.resources.audit import AuditEntry, AuditPage
from service.resources.keys import CreatedKey, KeyPage, KeyResource
from service.resources.projects import Me, ProjectPage, ProjectResource
from service.roles import Role


class Access(Connection):
    """Who may do what, and who did."""

    async def me(self) -> Me:
        """Whose key this client shows, and what it may do."""
        return await self._get(Me, "/v1/me")

    def projects(self) -> AsyncIterator[ProjectResource]:
        """The projects that the key sees, newest first."""
        return self._pages(ProjectPage, "/v1/projects", {}, lambda page: page.projects)

    async def project(self, project: str) -> ProjectResource:
        """One project."""
        return await self._get(ProjectResource, f"/v1/projects/{part(project)}")

    async def create_project(self, name: str) -> ProjectResource:
        """Make a project; for the operator."""
        response = await self._send("POST", "/v1/projects", {"name": name}, idempotency())
        return ProjectResource.model_validate_json(response.content)

    async def limit_project(self, project: str, max_running_jobs: int | None) -> ProjectResource:
        """Set how many jobs of a project may run at a time (None: no limit); for the operator."""
        body = {"max_running_jobs": max_running_jobs}
        response = await self._send("PATCH", f"/v1/projects/{part(project)}", body)
        return ProjectResource.model_validate_json(response.content)

    def keys(self, project: str | None) -> AsyncIterator[KeyResource]:
        """The keys of a project (None: of the operator), newest first."""
        return self._pages(KeyPage, keys_url(project), {}, lambda page: page.keys)

    async def create_key(
        self, project: str | None, name: str, *, role: Role = Role.ADMIN, expires_at: datetime | None = None
    ) -> CreatedKey:
        """Make a key of a project (None: of the operator). It is in the answer, and never shown again."""
        ends = expires_at.isoformat() if expires_at else None
        fields = {"name": name, "expires_at": ends} | ({"role": role} if project else {})
        # Sent once: a second key, made where only the answer was lost, would be one that nobody knows of.
        with reaching(self.url):
            response = await self._http.post(keys_url(project), json=fields)
        return CreatedKey.model_validate_json(check(response).content)

    async def revoke_key(self, project: str | None, key_id: str) -> None:
        """End a key of a project (None: of the operator) at once; doing it twice does no harm."""
        await self._send("DELETE", f"{keys_url(project)}/{part(key_id)}")

    def audit(
        self,
        *,
        project: str | None = None,
        action: str | None = None,
        key: str | None = None,
        target: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[AuditEntry]:
        """Who changed what, newest first; for admins of their project, for the operator of all."""
        parameters = _audited(project, action, key, target, since, until)
        return self._pages(AuditPage, "/v1/audit", parameters, lambda page: page.entries)

    async def fetch_audit(
        self,
        out: Path,
        *,
        project: str | None = None,
        action: str | None = None,
        key: str | None = None,
        target: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Path:
        """Write the same entries to a file, one JSON object a line; it appears only whole."""
        parameters = given(_audited(project, action, key, target, since, until))
        await self._write("/v1/audit.jsonl", out, parameters)
        return out


def _audited(
    project: str | None,
    action: str | None,
    key: str | None,
    target: str | None,
    since: datetime | None,
    until: datetime | None,
) -> dict[str, str | None]:
    times = {"since": since.isoformat() if since else None, "until": until.isoformat() if until else None}
    return {"project": project, "action": action, "key": key, "target": target, **times}
