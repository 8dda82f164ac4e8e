"""The `dale` command against a real server: what it prints, and with which code it ends."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from service.api.dependencies import Context
from service.cli import app, credentials
from service.cli.job_options import exports, spec
from service.cli.packing import as_archive
from service.jobs.lifecycle import State
from workers.contract import keys
from workers.contract.request import DaleMethod, JobSpec, NetworkSpec

KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("DALE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def dale(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("DALE_API_KEY", KEY)

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


def test_a_user_s_way_from_folder_to_job(dale: Run, folder: Path) -> None:
    done = dale("upload", folder)
    assert done.exit_code == 0, done.output
    dataset = re.search(r"Dataset (ds-\w+), version 1: 4 samples", done.output)
    assert dataset
    assert "lesions" in dale("datasets").output
    plan = json.loads(dale("train", dataset[1], "--workers", "2", "--dry-run", "--json").output)
    assert (plan["dataset"]["sample_count"], plan["cluster"]["cpus"]) == (4, 2)
    assert re.search(r"learning_rate +0.002", dale("train", dataset[1], "--dry-run").output)
    assert [one["field"] for one in plan["suggested"]] == ["image_size"]  # workers were given
    assert dale("jobs", "--json").output.strip() == "[]"
    better = json.loads(dale("train", dataset[1], "--suggested", "--epochs", "2", "--json").stdout)
    assert (better["spec"]["image_size"], better["spec"]["epochs"]) == (plan["suggested"][0]["value"], 2)
    dale("cancel", better["id"])
    dale("delete", better["id"], "--yes")
    options = "--set temperature=0.1 --set start=0.3 --network UNet --epochs 3 --workers 2 --name first"
    done = dale(
        "train", f"{dataset[1]}:1", *options.split(), "--network-arguments", '{"channels": [8, 16], "strides": [2]}'
    )
    assert done.exit_code == 0, done.output
    job_id = re.search(r"Job (job-\w+) is QUEUED", done.output)
    assert job_id
    shown = json.loads(dale("job", job_id[1], "--json").output)
    assert JobSpec.model_validate(shown["spec"]) == JobSpec(
        dataset_id=dataset[1],
        name="first",
        network=NetworkSpec(name="UNet", arguments={"channels": [8, 16], "strides": [2]}),
        method=DaleMethod(temperature=0.1, start=0.3),
        epochs=3,
        workers=2,
    )
    listed = dale("jobs").output
    assert job_id[1] in listed
    assert "first" in listed
    assert "its turn" in dale("job", job_id[1]).output
    assert "has priority -3" in dale("priority", job_id[1], "-3").output
    assert re.search(r"priority +-3", dale("job", job_id[1]).output)
    assert dale("priority", job_id[1], "11").exit_code == 2
    project = json.loads(dale("projects", "list", "--json").output)[0]["id"]
    assert "at most 3 jobs" in dale("projects", "limit", project, "3").output
    assert "no limit" in dale("projects", "limit", project, "none").output
    assert "CANCELLED" in dale("cancel", job_id[1]).output
    assert json.loads(dale("jobs", "--state", "cancelled", "--json").output)[0]["id"] == job_id[1]
    assert "QUEUED" in dale("retry", job_id[1]).output
    assert dale("delete", job_id[1], "--yes").exit_code == 2  # it is not over
    dale("cancel", job_id[1])
    assert dale("delete", job_id[1]).exit_code == 1  # nobody said yes
    assert "is deleted" in dale("delete", job_id[1], "--yes").output
    assert dale("job", job_id[1]).exit_code == 2


def test_samples_and_model_of_a_finished_job(dale: Run, model_job: str, tmp_path: Path) -> None:
    table = dale("samples", model_job, "--worst", "2").output
    assert len(re.findall(r"^│ \d", table, re.MULTILINE)) == 2
    everything = json.loads(dale("samples", model_job, "--json").output)
    assert [sample["rank"] for sample in everything] == [1, 2, 3, 4, 5, 6]
    assert '<b>bold & "x"' in dale("samples", model_job).output  # never read as markup
    done = dale("fetch", model_job, tmp_path / "model")
    assert done.exit_code == 0, done.output
    files = [Path(line) for line in done.stdout.splitlines()]
    assert files
    assert all(file.is_file() for file in files)


def test_what_is_doubted_of_a_label(dale: Run, context: Context, finished_job: str, tmp_path: Path) -> None:
    done = dale("map", finished_job, "case 2", tmp_path / "maps")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [str(tmp_path / "maps/case 2.png")]
    assert (tmp_path / "maps/case 2.png").read_bytes() == context.store.get(keys.doubt_map(finished_job, 3))
    done = dale("map", finished_job, "case 2", tmp_path / "maps", "--drawn", "--size", 128)
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "maps/case 2.webp") as picture:
        assert (picture.format, max(picture.size)) == ("WEBP", 128)
    assert dale("map", finished_job, "no such sample").exit_code == 2
    context.store.delete(keys.doubt_map(finished_job, 3))
    refused = dale("map", finished_job, "case 2", tmp_path / "other")
    assert (refused.exit_code, "older than the maps" in " ".join(refused.output.split())) == (2, True)
    assert not (tmp_path / "other").exists()


def test_follow_ends_with_the_job_and_its_code(
    dale: Run, add_dataset: Callable[..., str], end_job: Callable[[str, State], None]
) -> None:
    for state, code, words in (
        (State.SUCCEEDED, 0, "succeeded"),
        (State.FAILED, 1, "failed"),
        (State.CANCELLED, 1, "cancelled"),
    ):
        job = json.loads(dale("train", add_dataset(), "--json").output)
        if state is State.CANCELLED:
            dale("cancel", job["id"])
        else:
            end_job(job["id"], state)
        done = dale("job", job["id"], "--follow")
        assert done.exit_code == code, done.output
        assert words in done.output.lower()


def test_refusals_are_words_with_every_fault_and_code_2(dale: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "masks/case 1.png").write_bytes(b"no image")
    (folder / "images/case 2.png").unlink()
    done = dale("upload", folder)
    assert done.exit_code == 2
    assert "case 1.png" in done.stderr
    assert "case 2.png" in done.stderr
    for words, said in (
        (["train", "ds-none"], "no dataset"),
        (["train", "ds-none:x"], "number of a version"),
        (["train", "ds-1", "--set", "temperature"], "NAME=VALUE"),
        (["train", "ds-1", "--set", "temperature=hot"], "method.temperature"),
        (["train", "ds-1", "--set", "heat=1", "--epochs", "0"], "epochs"),
        (["train", "ds-1", "--method", "magic"], "method"),
        (["train", "ds-1", "--network-arguments", "{"], "not JSON"),
        (["upload", str(tmp_path / "none")], "does not exist"),
        (["upload", str(tmp_path)], "no folder images"),
        (["job", "job-none"], "no job"),
        (["samples", "job-none"], "no job"),
        (["fetch", "job-none", str(tmp_path)], "no model"),
        (["jobs", "--key", "wrong"], "dale login"),
        (["jobs", "--url", "nowhere"], "http://127.0.0.1:8000"),
        (["samples", "x", "--worst", "0"], "worst"),
        (["frobnicate"], "frobnicate"),
    ):
        done = dale(*words)
        assert (done.exit_code, said in done.stderr.replace("\n", " ")) == (2, True), (words, done.output)
        assert not isinstance(done.exception, Exception) or isinstance(done.exception, SystemExit)


def test_nobody_there_is_code_3(dale: Run) -> None:
    done = dale("jobs", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 3
    assert "Nobody answers at http://127.0.0.1:9" in done.stderr


def test_login_keeps_a_working_key_for_this_service_only(
    dale: Run, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert dale("login", url, "--key", "wrong").exit_code == 2
    assert not credentials.path().exists()
    done = dale("login", url, "--key", KEY)
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(credentials.path().stat().st_mode) == 0o600
    monkeypatch.delenv("DALE_URL")
    monkeypatch.delenv("DALE_API_KEY")
    assert dale("jobs").exit_code == 0
    assert credentials.choose(None, None) == credentials.Target(url, KEY)
    assert credentials.choose("http://elsewhere", None) == credentials.Target("http://elsewhere", None)
    assert credentials.choose(None, "other").key == "other"
    credentials.path().write_text("{")
    done = dale("jobs")
    assert (done.exit_code, "dale login" in done.stderr) == (2, True)


def test_packing_takes_images_and_masks_and_nothing_else(folder: Path) -> None:
    with as_archive(folder) as archive:
        names = zipfile.ZipFile(archive).namelist()
        assert sorted(names) == sorted(f"{part}/case {i}.png" for part in ("images", "masks") for i in range(4))
    assert not archive.exists()


def test_packing_takes_of_nnunet_what_is_trained_on(tmp_path: Path) -> None:
    for name in ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "imagesTs/b_0000.nii.gz", "dataset.json", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with as_archive(tmp_path) as archive, zipfile.ZipFile(archive) as packed:
        assert packed.namelist() == ["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "dataset.json"]


def packed_of(folder: Path, files: dict[str, bytes], layout: str = "auto") -> list[str]:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    with as_archive(folder, layout=layout) as archive, zipfile.ZipFile(archive) as packed:
        return packed.namelist()


DICOM = bytes(128) + b"DICM"


def test_packing_takes_of_coco_descriptions_and_images(tmp_path: Path) -> None:
    files = {"annotations/instances_x.json": b"{}", "train/a/1.jpg": b"x", "2.PNG": b"x", ".cache/3.png": b"x"}
    taken = ["2.PNG", "annotations/instances_x.json", "train/a/1.jpg"]
    assert packed_of(tmp_path, files | {"notes.txt": b"x", "scan": DICOM}) == taken


def test_packing_takes_of_dicom_what_is_dicom(tmp_path: Path) -> None:
    files = {"p1/0001": DICOM, "p1/seg.dcm": DICOM, "p1/readme.txt": b"x", "list.json": b"[]", ".DS_Store": DICOM}
    assert packed_of(tmp_path, files) == ["p1/0001", "p1/seg.dcm"]


def test_packing_by_a_layout_that_is_asked_for(tmp_path: Path) -> None:
    files = {"images/1.png": b"x", "masks/1.png": b"x", "all.json": b"{}", "scan": DICOM}
    assert packed_of(tmp_path, files) == ["images/1.png", "masks/1.png"]
    assert packed_of(tmp_path, {}, "coco") == ["all.json", "images/1.png", "masks/1.png"]
    assert packed_of(tmp_path, {}, "dicom") == ["scan"]
    with pytest.raises(ValueError, match="no folder imagesTr"):
        packed_of(tmp_path, {}, "nnunet")
    (tmp_path / "scan").unlink()
    with pytest.raises(ValueError, match="no files of the layout dicom"):
        packed_of(tmp_path, {}, "dicom")


def test_help_tells_the_contract_s_defaults() -> None:
    helped = " ".join(CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).output.split())
    job = JobSpec(dataset_id="x")
    for option in ("epochs", "batch_size", "image_size", "learning_rate", "seed", "workers", "gpus_per_worker"):
        told = re.search(rf"--{option.replace('_', '-')} .*?\(default: ([\d.]+)\)", helped)
        assert told, option
        assert float(told[1]) == getattr(job, option), option
    assert spec("x", {}) == job


def test_every_option_of_a_job_has_a_word_on_the_command_line() -> None:
    helped = CliRunner().invoke(app, ["train", "--help"]).output
    for field in JobSpec.model_fields.keys() - {"dataset_id", "dataset_version"}:
        assert f"--{field.replace('_', '-')}" in helped


def test_the_command_starts_quickly_and_loads_nothing_of_the_training_side() -> None:
    code = "import service.cli, service.demo, service.client, sys; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"torch", "ray", "monai", "dale", "scipy"}
    code = "import service.cli, sys; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"fastapi", "sqlalchemy", "pydantic", "httpx", "uvicorn", "numpy"}


@pytest.mark.parametrize(
    ("words", "expected"), [(None, None), ("none", []), ("onnx, monai_bundle", ["onnx", "monai_bundle"])]
)
def test_forms_of_the_model_are_words_with_commas(words: str | None, expected: list[str] | None) -> None:
    assert exports(words) == expected
    with pytest.raises(ValueError, match="exports"):
        spec("ds-1", {"exports": exports("onx")})
