"""Structured logs of a run: one JSON line an event, with job, attempt and rank."""

from __future__ import annotations

import logging
import sys
import warnings

import structlog


def configure_logging(**context: object) -> None:
    """Log events as JSON lines to standard error, each with the given context."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**context)
    # MONAI's networks pass an option of `interpolate` that torch has renamed; nobody can act on it here.
    warnings.filterwarnings("ignore", category=FutureWarning)
