"""A network as TorchScript, torch.export and ONNX: written to a file, and read from it again for the comparison."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workers.contract import inference
from workers.contract.inference import Network
from workers.export.comparison import of_tensors
from workers.export.packing import pack
from workers.export.texts import onnx_readme


def torchscript(network: nn.Module, example: Tensor, path: Path) -> Network:
    """Write `model.ts`, for images of the example's size and any number of them.

    Args:
        network: in evaluation mode, on the CPU.
        example: (2, channels, *spatial).
        path: of the file.

    Returns:
        What the file answers.
    """
    # Traced: MONAI's networks choose their way by their arguments, not by values; scripting knows not all of them.
    torch.jit.save(torch.jit.trace(network, example, check_trace=False), path)
    return of_tensors(torch.jit.load(path).eval())


def program_of(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The network as a graph, for images of the example's size and any number of them."""
    batch = torch.export.Dim("batch")
    return torch.export.export(network, (example,), dynamic_shapes=({0: batch},), strict=False)


def torch_export(program: torch.export.ExportedProgram, path: Path) -> Network:
    """Write `model.pt2`. As `torchscript`."""
    torch.export.save(program, path)
    return of_tensors(torch.export.load(path).module())


def onnx(program: torch.export.ExportedProgram, about: dict[str, Any], scratch: Path, path: Path) -> Network:
    """Write `onnx.zip`: the network with its description, a script that predicts with it, and a README.

    Args:
        program: of `program_of`.
        about: the model's `model.json`.
        scratch: an empty folder.
        path: of the zip.

    Returns:
        What `model.onnx` answers.
    """
    import onnx as onnx_format  # noqa: PLC0415 - only where it is asked for

    exported = torch.onnx.export(program, dynamo=True, input_names=["image"], output_names=["logits"], verbose=False)
    if exported is None:
        raise RuntimeError("torch.onnx.export gave no program")
    exported.save(scratch / "model.onnx")
    onnx_format.checker.check_model(str(scratch / "model.onnx"), full_check=True)
    (scratch / "model.json").write_text(json.dumps(about, indent=1))
    shutil.copy(inference.__file__, scratch / "predict.py")
    (scratch / "README.md").write_text(onnx_readme(about))
    pack(scratch, path)
    return inference.load(scratch)[1]
