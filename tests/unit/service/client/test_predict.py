"""Predictions by the client and by command, against the real application."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from service.api.dependencies import Context
from service.cli import app as command
from service.client import Client, Refused
from service.client.files import cases, stem
from tests.conftest import API_KEY
from tests.served_models import exported, serve
from workers.contract import inference
from workers.export.workplace import Workplace


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A model of volumes of two channels."""
    return exported(tmp_path_factory.mktemp("model"), "volumes of two channels")


@pytest.fixture
def model(context: Context, finish_job: Callable[..., str], workplace: Workplace) -> str:
    """Id of that model as the service has it."""
    return serve(context, finish_job, workplace)


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DALE_API_KEY", API_KEY)
    return lambda *words: CliRunner().invoke(command, [*map(str, words)])


def sent(workplace: Workplace, folder: Path) -> list[Path]:
    """The samples of a model, called as the command wants them."""
    folder.mkdir()
    found = []
    for case, paths in zip("ab", workplace.cases(), strict=True):
        for number, path in enumerate(paths):
            found.append(folder / f"{case}_{number:04}.nii.gz")
            found[-1].write_bytes(path.read_bytes())
    return found


def test_predict_by_command(run: Callable[..., Result], model: str, workplace: Workplace, tmp_path: Path) -> None:
    files = sent(workplace, tmp_path / "in")
    files[3].write_bytes(files[3].read_bytes()[:-500])
    out = tmp_path / "out"
    done = run("predict", model, *files, "--out", out, "--probabilities", "--uncertainty")
    assert done.exit_code == 2, done.output
    assert "b: Invalid request (422)" in done.output and "b_0001.nii.gz: cannot be unpacked" in done.output
    names = ["a.nii.gz", "a_probabilities.nii.gz", "a_uncertainty.nii.gz"]
    assert sorted(path.name for path in out.iterdir()) == names  # nothing of the second, nor anything half-written
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(workplace.file("onnx")).extractall(folder)
    about, network = inference.load(folder)
    truth = inference.predict(about, network, files[:2])
    assert (out / "a.nii.gz").read_bytes() == truth.encoded
    assert nib.Nifti1Image.from_filename(out / names[1]).shape == (40, 30, 25, 3)
    uncertain = nib.Nifti1Image.from_filename(out / names[2]).get_fdata()
    assert 0 <= uncertain.min() < uncertain.max() <= 1
    flipped = run("predict", model, *files[:2], "--out", tmp_path / "flipped", "--flips")
    assert flipped.exit_code == 0, flipped.output
    assert (tmp_path / "flipped" / "a.nii.gz").read_bytes() != truth.encoded
    assert run("predict", "no such:1", *files[:2], "--out", out).exit_code == 2
    fewer = run("predict", model, *files[:1], "--out", out)
    assert fewer.exit_code == 2 and "the model needs a_0000 to a_0001" in fewer.output
    assert run("predict", "job-none", *files[:2], "--out", out).exit_code == 2


def test_answers_take_no_source_s_place(dale: Client, model: str, workplace: Workplace, tmp_path: Path) -> None:
    files = sent(workplace, tmp_path / "in")[:2]
    before = files[0].read_bytes()
    with pytest.raises(ValueError, match="is what it is made from"):
        dale.predict(model, files, tmp_path / "in", name="a_0000")
    assert files[0].read_bytes() == before
    (written,) = dale.predict(model, files, tmp_path / "in", name="a").values()
    assert sorted(path.name for path in written.parent.iterdir())[:2] == ["a.nii.gz", "a_0000.nii.gz"]


def test_refusals_carry_the_problem(dale: Client, model: str, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(Refused) as caught:
        dale.predict(model, tmp_path / "x.png", tmp_path / "out")
    assert (caught.value.status, caught.value.errors[0].reason) == (422, "there are 1, the model takes 2")
    assert not (tmp_path / "out").exists()
    assert dale.describe(model)["mask_values"] == [0, 1, 300]


def test_files_are_told_apart_by_their_names() -> None:
    assert [stem(Path(name)) for name in ("a.b.nii.gz", "a.nii", "a.b.png", "a")] == ["a.b", "a", "a.b", "a"]
    assert cases([Path("b.png"), Path("a.tif")], 1) == {"a": [Path("a.tif")], "b": [Path("b.png")]}
    with pytest.raises(ValueError, match="same name"):
        cases([Path("a.png"), Path("a.tif")], 1)
    with pytest.raises(ValueError, match="a_0000 to a_0001"):
        cases([Path("a_0000.png"), Path("a_0002.png")], 2)
