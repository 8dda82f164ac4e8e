"""What of a prediction can be asked for, as the worker's contract has it."""

from __future__ import annotations

from workers.contract.outputs import Output

__all__ = ["Output"]
