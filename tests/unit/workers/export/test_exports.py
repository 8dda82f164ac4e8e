"""Exports, each opened by the tool that it is for, say what the trained network says."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.unit.workers.export.models import describe, leave
from workers.contract.inference import Prediction
from workers.contract.request import EXPORTS, ExportName
from workers.contract.store_local import LocalStore
from workers.export import publish
from workers.export.__main__ import Exporter, report_of, trained
from workers.export.bundle_configs import inference_config, metadata
from workers.export.comparison import agreement, by_network, mask_of
from workers.export.workplace import Workplace
from workers.run import Run

WITHOUT_TORCH = """
import runpy, sys
for name in ("torch", "monai", "workers", "dale"):
    sys.modules[name] = None
sys.argv = ["predict.py", *sys.argv[1:]]
runpy.run_path("predict.py", run_name="__main__")
"""


@dataclass
class Made:
    """A workplace after the process, and what the trained network says of the samples."""

    workplace: Workplace
    about: dict[str, Any]
    truth: list[Prediction]

    def unpacked(self, name: ExportName) -> Path:
        folder = self.workplace.root / f"unpacked-{name}"
        zipfile.ZipFile(self.workplace.file(name)).extractall(folder)
        return folder


@pytest.fixture(scope="module", params=["images", "volumes of two channels"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """All exports, made by the real process."""
    about = (
        describe() if request.param == "images" else describe(volume=True, files=2, edge=16, mask_values=(0, 1, 300))
    )
    workplace = leave(tmp_path_factory.mktemp("export"), about)
    why = publish.make(workplace, list(EXPORTS))
    assert set(workplace.reports()) == set(EXPORTS), why
    assert why == "it was not made"  # the process ended well
    predict = by_network(about, trained(workplace.weights, about)[1])
    yield Made(workplace, about, [predict(files) for files in workplace.cases()])


def test_every_form_agrees_and_says_how_far(made: Made) -> None:
    for name, report in made.workplace.reports().items():
        assert (report.reason, report.file) == ("", made.workplace.file(name).name)
        assert report.samples == len(made.truth)
        assert report.max_difference is not None and report.max_difference < 1e-4
        assert report.differing_pixels is not None and report.differing_pixels <= 2
    # The samples would tell a network that sees nothing from one that sees.
    assert all(len(np.unique(mask_of(one.encoded))) > 1 for one in made.truth)


def test_the_script_of_the_zip_needs_no_torch(made: Made, tmp_path: Path) -> None:
    folder, volume = made.unpacked("onnx"), made.about["spatial_dims"] == 3
    assert {file.name for file in folder.iterdir()} == {"README.md", "model.json", "model.onnx", "predict.py"}
    for files, expected in zip(made.workplace.cases(), made.truth, strict=True):
        mask, probabilities = tmp_path / f"mask{'.nii.gz' if volume else '.png'}", tmp_path / "probabilities.npy"
        command = [sys.executable, "-I", "-c", WITHOUT_TORCH, *map(str, files)]
        options = ["--out", str(mask), "--probabilities", str(probabilities), "--model", "."]
        subprocess.run([*command, *options], cwd=folder, check=True)
        assert (mask_of(mask.read_bytes()) != mask_of(expected.encoded)).mean() < 1e-4
        assert np.abs(np.load(probabilities) - expected.probabilities).max() < 1e-4
        if volume:
            assert np.array_equal(nib.load(mask).affine, nib.load(files[0]).affine)
        else:
            assert Image.open(mask).size == Image.open(files[0]).size


def test_the_bundle_runs_by_monais_own_command(made: Made, tmp_path: Path) -> None:
    (root,) = made.unpacked("monai_bundle").iterdir()
    assert {"LICENSE", "configs", "docs", "models"} <= {item.name for item in root.iterdir()}
    data, out = tmp_path / "data", tmp_path / "masks"
    data.mkdir()
    for number, files in enumerate(made.workplace.cases()):
        for channel, file in enumerate(files):
            (data / f"case{number}_{channel:04}{''.join(file.suffixes)}").write_bytes(file.read_bytes())
    options = {"config_file": "configs/inference.json", "bundle_root": ".", "dataset_dir": data, "output_dir": out}
    command = [sys.executable, "-m", "monai.bundle", "run"]
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    subprocess.run([*command, *given], cwd=root, check=True, capture_output=True)
    assert len(list(out.iterdir())) == len(made.truth)
    for number, expected in enumerate(made.truth):
        (written,) = out.glob(f"case{number}_*")
        assert (mask_of(written.read_bytes()) != mask_of(expected.encoded)).mean() < 1e-4
        if made.about["spatial_dims"] == 3:
            assert np.allclose(nib.load(written).affine, nib.load(next(data.glob(f"case{number}_*"))).affine)


def test_the_bundle_answers_without_saving_as_monai_label_asks_it(made: Made) -> None:
    """MONAI Label leaves out `SaveImaged`, and writes what is then there: (W, H) of an image, a volume's own grid."""
    (root,) = made.unpacked("monai_bundle").iterdir()
    script = f"""
import sys; sys.path.insert(0, {str(root)!r})
import numpy as np, torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, SaveImaged
parser = ConfigParser(); parser.read_config("{root}/configs/inference.json")
parser["bundle_root"], parser["device"] = {str(root)!r}, "cpu"
network = parser.get_parsed_content("network_def")
network.load_state_dict(torch.load("{root}/models/model.pt", weights_only=True))
network.eval()
item = parser.get_parsed_content("preprocessing")({{"image": {[str(f) for f in made.workplace.cases()[1]]!r}}})
with torch.no_grad():
    item["pred"] = parser.get_parsed_content("inferer")(item["image"][None], network)[0]
after = parser.get_parsed_content("postprocessing").transforms
np.save("{root}/answer.npy", np.asarray(Compose([t for t in after if not isinstance(t, SaveImaged)])(item)["pred"]))
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    answer, expected = np.load(root / "answer.npy"), mask_of(made.truth[1].encoded)
    assert ((answer[0] if made.about["spatial_dims"] == 3 else answer.T) != expected).mean() < 1e-4


def test_monai_finds_the_metadata_valid(made: Made, tmp_path: Path) -> None:
    (root,) = made.unpacked("monai_bundle").iterdir()
    tensor = {"required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"]}
    tensors = {"type": "object", "minProperties": 1, "additionalProperties": tensor}
    wanted = ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"]
    wanted += ["task", "description", "authors", "copyright", "network_data_format"]
    network = {"required": ["inputs", "outputs"], "properties": {"inputs": tensors, "outputs": tensors}}
    schema = tmp_path / "schema.json"  # what MONAI's own asks for; with a file there, nothing is downloaded
    schema.write_text(json.dumps({"required": wanted, "properties": {"network_data_format": network}}))
    command = [sys.executable, "-m", "monai.bundle", "verify_metadata"]
    options = ["--meta_file", str(root / "configs/metadata.json"), "--filepath", str(schema)]
    done = subprocess.run([*command, *options], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "verified with no error" in done.stdout + done.stderr


def test_torch_opens_both_of_its_forms_for_any_number_of_images(made: Made) -> None:
    _, network = trained(made.workplace.weights, made.about)
    images = torch.randn(5, *made.about["input"]["shape"][1:], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images)
        for opened in (
            torch.jit.load(made.workplace.file("torchscript")),
            torch.export.load(made.workplace.file("torch_export")).module(),
        ):
            for count in (1, 5):
                torch.testing.assert_close(opened(images[:count]), expected[:count], rtol=0, atol=1e-4)


def test_an_export_that_disagrees_is_not_published(tmp_path: Path) -> None:
    workplace = leave(tmp_path, describe())
    exporter = Exporter(workplace)
    other = load_file(workplace.weights)
    exporter.network.load_state_dict({name: value * 1.1 for name, value in other.items()})
    report = report_of("torchscript", exporter)
    assert report.file is None and not workplace.file("torchscript").exists()
    assert "probabilities differ" in report.reason


def test_an_export_that_fails_tells_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = Exporter(leave(tmp_path, describe()))
    monkeypatch.setattr(torch.jit, "trace", lambda *args, **options: torch.zeros(2) @ torch.zeros(3))
    report = report_of("torchscript", exporter)
    assert report.file is None and report.reason.startswith("RuntimeError: ")


def test_what_is_no_number_disagrees() -> None:
    sink = io.BytesIO()
    Image.new("L", (2, 2)).save(sink, "PNG")
    good = Prediction(np.zeros((2, 2, 2), np.float32), sink.getvalue())
    bad = Prediction(np.full((2, 2, 2), np.nan, np.float32), sink.getvalue())
    assert not agreement([good], [good]).disagreement
    assert agreement([good], [bad]).disagreement


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workplace = leave(tmp_path, describe())
    monkeypatch.setattr(publish, "SECONDS", 0.05)
    assert "0.05 seconds" in publish.make(workplace, ["onnx"])
    assert workplace.reports() == {}


def test_a_process_that_is_killed_costs_only_its_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    (tmp_path / "work").mkdir()
    workplace = leave(tmp_path / "work", describe())
    monkeypatch.setattr(publish.sys, "executable", str(killed))
    assert "signal 9" in publish.make(workplace, ["onnx"])


def test_text_that_monai_would_execute_makes_no_bundle() -> None:
    for arguments in (
        {"act": "$print(1)"},
        {"act": ["PRELU", {"init": "@device"}]},
        {"norm": {"_target_": "os.system"}},
    ):
        about = describe()
        about["network"]["arguments"] |= arguments
        with pytest.raises(ValueError, match="would execute"):
            inference_config(about)


def test_names_of_channels_are_text_for_monai() -> None:
    told = metadata(describe() | {"channels": ["$print(1)", "@device", "%x"]})
    names = told["network_data_format"]["inputs"]["image"]["channel_def"].values()
    assert all(name.startswith("channel ") for name in names)


def test_what_agrees_is_published_and_the_rest_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(workplace: Workplace, wanted: list[ExportName]) -> str:
        assert len(workplace.cases()) == 2
        workplace.file("torchscript").write_bytes(b"script")
        workplace.report(publish.ExportReport(name="torchscript", file="model.ts", samples=2, max_difference=0.0))
        return "it was killed"

    monkeypatch.setattr(publish, "make", make)
    store = LocalStore(tmp_path)
    store.put("datasets/ds-1/blobs/" + "a" * 64, b"held out")
    held_out = SimpleNamespace(as_py=lambda: "a" * 64)
    none = SimpleNamespace(as_py=lambda: None)
    samples = SimpleNamespace(
        spatial_dims=2,
        held_out=range(3, 5),
        store=store,
        dataset_id="ds-1",
        table={"image_sha256": {3: held_out, 4: held_out}, "channels": {3: none, 4: none}},
    )
    spec = {"dataset_id": "ds-1", "exports": ["onnx", "torchscript"]}
    request = publish_request(spec)
    run = Run(request=request, attempt=1, store=store, rank=0, world_size=1, device=torch.device("cpu"))
    about = {name: value for name, value in describe().items() if name not in {"exports", "export_check"}}
    told, files, reports = publish.publish_exports(run, samples, {}, json.dumps(about).encode())  # type: ignore[arg-type]
    assert [file.name for file in files] == ["model.ts"]
    assert store.get(files[0].key) == b"script" and files[0].size == 6
    assert [(report.name, report.reason) for report in reports] == [("torchscript", ""), ("onnx", "it was killed")]
    assert json.loads(told)["export_check"]["samples"] == "held out"
    assert [report["name"] for report in json.loads(told)["exports"]] == ["torchscript", "onnx"]


def publish_request(spec: dict[str, Any]) -> Any:
    from workers.contract.request import TrainRequest

    return TrainRequest.model_validate({"job_id": "job-1", "spec": spec})
