"""Who calls, and what they may do: four roles, each with all that the roles before it may."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a key may do within its project; each role may also do what those above it in this list may."""

    READ = "read"  # see everything
    REVIEW = "review"  # decide about labels
    TRAIN = "train"  # upload datasets, post and cancel jobs
    ADMIN = "admin"  # make and revoke keys, read the audit trail

    def includes(self, needed: Role) -> bool:
        """Whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True)
class Caller:
    """Whose key a request showed. A key of no project is the operator's: it sees and does everything."""

    key_id: str
    key_name: str
    role: Role
    project_id: str | None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None

    @property
    def operator(self) -> bool:
        """Whether this is the operator of the service."""
        return self.project_id is None

    def sees(self, project_id: str | None) -> bool:
        """Whether what belongs to that project is there for this caller."""
        return self.operator or self.project_id == project_id


# Whoever starts the service acts without a key: these are its entries in the audit trail.
SERVICE = Caller("service", "dale serve", Role.ADMIN, None)
