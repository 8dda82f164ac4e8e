"""From the words of a command line to a job. Raises ValueError (pydantic's among them) in words for the user."""

from __future__ import annotations

import json
from typing import Any

from workers.contract.request import JobSpec


def spec(dataset: str, given: dict[str, Any]) -> JobSpec:
    """The job to post; what is None is left to the contract's default."""
    dataset_id, version = named_version(dataset)
    values = {name: value for name, value in given.items() if value is not None}
    return JobSpec(dataset_id=dataset_id, dataset_version=version, **values)


def named_version(dataset: str) -> tuple[str, int]:
    """The id and the number in `DATASET[:VERSION]`."""
    dataset_id, colon, version = dataset.partition(":")
    if colon and not version.isdecimal():
        raise ValueError(f"{dataset!r}: behind the colon comes the number of a version, e.g. {dataset_id}:1")
    return dataset_id, int(version or 1)


def with_suggested(job: JobSpec, suggested: dict[str, int]) -> JobSpec:
    """The job with these values for fields that were left out."""
    given = job.model_dump(include=set(job.model_fields_set))
    return JobSpec.model_validate(given | suggested)


def network(name: str | None, arguments: str | None) -> dict[str, Any] | None:
    """The network as the contract has it; None where nothing was said of it."""
    if name is None and arguments is None:
        return None
    try:
        parsed = json.loads(arguments or "{}")
    except ValueError as error:
        raise ValueError(f"--network-arguments is not JSON ({error}); e.g. '{{\"channels\": [16, 32, 64]}}'") from error
    return {"name": name or "UNet", "arguments": parsed}


def settings(pairs: list[str]) -> dict[str, str]:
    """Hyperparameters from words like `temperature=0.05`; the contract turns them into numbers."""
    wrong = [pair for pair in pairs if "=" not in pair or pair.startswith("name=")]
    if wrong:
        raise ValueError(f"--set {wrong[0]}: write NAME=VALUE, e.g. --set temperature=0.05")
    return {name.strip(): value.strip() for name, _, value in (pair.partition("=") for pair in pairs)}


def exports(words: str | None) -> list[str] | None:
    """The forms of the model from words like `onnx,monai_bundle`; `none` is no form; None where nothing was said."""
    if words is None:
        return None
    return [] if words.strip() == "none" else [word.strip() for word in words.split(",")]
