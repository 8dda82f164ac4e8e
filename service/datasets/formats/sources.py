"""Where a file of a dataset comes from: as it lies in the archive, or made from what lies there.

What comes in another format is converted at the import to what is stored, once to check it and once to store it. Both
must give the same bytes, so a conversion depends on nothing but what it converts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from service.datasets.archive import Archive, Extracted, Member
from service.datasets.formats.metaimage import MetaImage
from service.datasets.kinds import METAIMAGE


class Source(Protocol):
    """Something in an archive that becomes one file."""

    @property
    def path(self) -> str:
        """What it is called, for messages."""
        ...

    def extract(self, archive: Archive, target: Path) -> Extracted:
        """Write the file to `target`; beside it, files whose names begin with the target's may come and go.

        Raises:
            MemberFault: it is damaged, larger than the limit, or cannot be converted.
        """
        ...


def source_of(member: Member) -> Source:
    """A member as the file that is stored: itself, or what it is converted to."""
    return MetaImage(member) if member.path.lower().endswith(METAIMAGE) else member
