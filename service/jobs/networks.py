"""Refuses a network that cannot be trained, before a worker is taken: by the catalogue, then by building it."""

from __future__ import annotations

import difflib
import functools
import json
import subprocess
import sys
from importlib import resources
from typing import Any

from service import logging
from service.errors import FieldError, Invalid
from workers.contract.request import NetworkSpec

log = logging.get(__name__)
CHECK_SECONDS = 120
RGB = 3  # channels
SAFE_MULTIPLE = 32  # every network of the catalogue takes such sizes with its default arguments


@functools.cache
def catalogue() -> dict[str, Any]:
    """The networks that can be named, with their arguments."""
    text = resources.files("workers.contract").joinpath("networks.json").read_text()
    known: dict[str, Any] = json.loads(text)
    return known


def check_names(network: NetworkSpec) -> None:
    """Hold a network's name and the names of its arguments to the catalogue.

    Raises:
        Invalid: one is unknown; says which, and what was probably meant.
    """
    known = catalogue()
    if network.name not in known:
        fault = FieldError(
            field="network.name",
            reason=f"there is no network {network.name!r}",
            hint=_hint(network.name, list(known)),
        )
        raise Invalid(f"There is no network {network.name!r}.", [fault])
    accepted = known[network.name]["arguments"]
    faults = [
        FieldError(
            field=f"network.arguments.{name}",
            reason=f"{network.name} has no argument {name!r}",
            hint=_hint(name, list(accepted)),
        )
        for name in network.arguments
        if name not in accepted
    ]
    faults += [
        FieldError(field=f"network.arguments.{name}", reason=f"{network.name} needs the argument {name!r}")
        for name, argument in accepted.items()
        if argument["required"] and name not in network.arguments
    ]
    if faults:
        raise Invalid(f"{network.name} cannot be built from these arguments.", faults)


def _hint(given: str, known: list[str]) -> str:
    lower = {name.lower(): name for name in known}
    close = [lower[name] for name in difflib.get_close_matches(given.lower(), lower, n=3, cutoff=0.6)]
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(sorted(known))}"


def check_by_building(network: NetworkSpec, *, size: int, classes: int, channels: int, spatial_dims: int = 2) -> None:
    """Build the network in a process of its own (torch never comes into this one) and pass one image through it.

    Defaults at a size that every network takes are known to work on RGB images and are not built.

    Args:
        network: the network.
        size: edge of the images, or of the patches of volumes.
        classes: number of classes.
        channels: number of channels.
        spatial_dims: 2 for images, 3 for volumes.

    Raises:
        Invalid: it cannot be built, or does not take images of this size; says why.
    """
    if spatial_dims == 2 and channels == RGB and not network.arguments and size % SAFE_MULTIPLE == 0:
        return
    reason = _build(network.model_dump_json(), size, classes, channels, spatial_dims)
    if reason:
        what = "images" if spatial_dims == 2 else "patches"
        sized = "image_size" if spatial_dims == 2 else "patch_size"
        shape = " x ".join([str(size)] * spatial_dims)
        raise Invalid(
            f"{network.name} cannot be trained on {what} of {shape}: {reason}",
            [FieldError(field="network.arguments" if network.arguments else sized, reason=reason)],
        )


@functools.lru_cache(maxsize=256)
def _build(network: str, size: int, classes: int, channels: int, spatial_dims: int) -> str:
    """Why the network is refused; empty if it is not. An answer holds for good, so it is kept."""
    question = {
        "network": json.loads(network),
        "image_size": size,
        "channels": channels,
        "classes": classes,
        "spatial_dims": spatial_dims,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "workers.network", "--check"],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"building it took more than {CHECK_SECONDS} s"
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        log.error("network check gave no answer", exit_code=done.returncode, stderr=done.stderr[-2000:])
        return f"building it ended the process (exit code {done.returncode}), perhaps for want of memory"
    return "" if answer["ok"] else str(answer["reason"])
