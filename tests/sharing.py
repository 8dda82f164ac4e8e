"""How the tests are shared out where pytest runs several processes (`make test` does)."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

_RAY = "tests that start Ray"
_GUIDES = "tests/docs/test_guides.py"


class ByFile(LoadScopeScheduling):
    """A file's tests stay in one process, for the fixtures that they share; those that start Ray are all in the same.

    Many Ray clusters at once would be short of processors and memory, and no faster. The guides alone have a small one
    beside it: their commands mostly wait, and one after the other would take half as long again.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return _RAY if starts_ray(nodeid) and file != _GUIDES else file


def starts_ray(nodeid: str) -> bool:
    """Whether a test is in one of the rooms whose tests start Ray."""
    return nodeid.startswith(("tests/integration/", "tests/e2e/", "tests/docs/"))
