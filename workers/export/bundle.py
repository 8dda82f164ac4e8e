"""A network as a MONAI bundle, laid out as MONAI's bundle specification and MONAI Label's app `monaibundle` have it.

https://docs.monai.io/en/stable/mb_specification.html
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import decollate_batch, list_data_collate
from torch import Tensor, nn

from workers.contract import inference
from workers.contract.inference import Prediction
from workers.export import grid
from workers.export.bundle_configs import inference_config, metadata
from workers.export.comparison import Predict
from workers.export.packing import pack
from workers.export.texts import LICENSE, bundle_readme

SCRIPTS = '''"""What the configuration uses besides MONAI."""

from scripts import grid, inference

__all__ = ["grid", "inference"]
'''


def write(
    bare: nn.Module, network: nn.Module, example: Tensor, about: dict[str, Any], scratch: Path, path: Path
) -> Predict:
    """Write `monai_bundle.zip`.

    Args:
        bare: the network as MONAI's constructor makes it.
        network: the same with a single answer.
        example: (2, channels, *spatial).
        about: the model's `model.json`.
        scratch: an empty folder.
        path: of the zip.

    Returns:
        What the bundle predicts, from its own files.

    Raises:
        ValueError: an argument of the network would be executed by whoever opens the bundle.
    """
    name = f"segmentation_{about['job_id']}"
    root = scratch / name
    for folder in ("configs", "models", "docs"):
        (root / folder).mkdir(parents=True)
    for file, content in (("metadata", metadata(about)), ("inference", inference_config(about))):
        (root / "configs" / f"{file}.json").write_text(json.dumps(content, indent=4))
    torch.save(bare.state_dict(), root / "models" / "model.pt")
    torch.jit.save(torch.jit.trace(network, example, check_trace=False), root / "models" / "model.ts")
    (root / "LICENSE").write_text(LICENSE)
    (root / "docs" / "README.md").write_text(bundle_readme(about, name))
    if about["spatial_dims"] == 2:
        (root / "scripts").mkdir()
        (root / "scripts" / "__init__.py").write_text(SCRIPTS)
        shutil.copy(inference.__file__, root / "scripts" / "inference.py")
        source = Path(grid.__file__).read_text().replace("from workers.contract import", "from scripts import")
        (root / "scripts" / "grid.py").write_text(source)
    pack(root, path, below=name)
    return _from(root, about, scratch / "masks")


def _from(root: Path, about: dict[str, Any], masks: Path) -> Predict:
    """How a bundle predicts: as its evaluator does, without the engine around it."""
    sys.path.insert(0, str(root))  # as `monai.bundle run` does, for its scripts
    parser = ConfigParser()
    parser.read_meta(root / "configs" / "metadata.json")
    parser.read_config(root / "configs" / "inference.json")
    parser["bundle_root"], parser["output_dir"], parser["device"] = str(root), str(masks), "$torch.device('cpu')"
    before, windows, network, after = (
        parser.get_parsed_content(part) for part in ("preprocessing", "inferer", "network", "postprocessing")
    )
    network.load_state_dict(torch.load(root / "models" / "model.pt", weights_only=True))
    network.eval()

    @torch.no_grad()
    def predict(files: Sequence[Path]) -> Prediction:
        names = [str(file) for file in files]
        batch = list_data_collate([before({"image": names if len(names) > 1 else names[0]})])
        batch["pred"] = windows(batch["image"], network)
        (item,) = decollate_batch(batch)
        probabilities = inference.softmax(np.asarray(item["pred"]))
        if about["spatial_dims"] == 2:
            size = [int(extent) for extent in item["image"].meta["spatial_shape"]]
            probabilities = np.stack([inference.to_own_size(plane, *size) for plane in probabilities])
        after(item)
        (written,) = masks.iterdir()
        encoded = written.read_bytes()
        written.unlink()
        return Prediction(probabilities, encoded)

    return predict
