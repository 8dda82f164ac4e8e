"""Reads a scrape as Prometheus does."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

Sample = Callable[..., float | None]


def parse(scraped: str) -> Sample:
    """A scrape as a function: `value("dale_jobs", state="QUEUED")`, None if there is no such sample."""
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(scraped)
        for sample in family.samples
    }
    return lambda name, **labels: found.get((name, frozenset(labels.items())))
