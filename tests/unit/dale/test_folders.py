"""The commands that write noisy folders: layout, truth, reproducibility, and words for bad input."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dale.folders import BadFolder, noise_command, pair_files, read_truth, read_values, write_noisy_copy
from dale.synthetic import lesion_image, synthetic_command, write_samples


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    folder = tmp_path / "clean"
    write_samples(folder, samples=20, size=48, seed=1)
    return folder


def test_noisy_copy_has_the_layout_and_the_truth(clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    noise_command(f"--data {clean} --out {out} --ratio 0.5 --seed 4 --limit 12 --hold-out 5 --noise mixed".split())
    truth = {row["id"]: row for row in csv.DictReader((out / "truth.csv").open())}
    assert list(truth) == sorted(truth)
    assert len(truth) == 12
    assert set(pair_files(out)) == set(truth)
    held = pair_files(out / "heldout")
    assert len(held) == 5
    assert not set(held) & set(truth)
    for name, row in truth.items():
        assert (out / f"images/{name}.png").read_bytes() == (clean / f"images/{name}.png").read_bytes()
        before, after = (np.asarray(Image.open(f / f"masks/{name}.png")) for f in (clean, out))
        assert set(np.unique(after)) <= {0, 255}
        assert (row["kind"] == "clean") == (before == after).all()
        both = (before > 0).sum() + (after > 0).sum()
        expected = 2 * ((before > 0) & (after > 0)).sum() / both if both else 1.0
        assert float(row["dice"]) == pytest.approx(expected, abs=1e-6)
    assert sum(row["kind"] != "clean" for row in truth.values()) == 6
    for name in held:
        assert (read_values(out / f"heldout/masks/{name}.png") == read_values(clean / f"masks/{name}.png")).all()
    assert len(read_truth(out / "truth.csv")) == 12


def test_same_seed_same_folder(tmp_path: Path) -> None:
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        synthetic_command(f"--out {tmp_path / out} --samples 8 --image-size 32 --hold-out 2 --seed {seed}".split())
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a") != files(tmp_path / "c")
    assert len(files(tmp_path / "a")) == 8 * 2 + 2 * 2 + 1


def test_commands_run_as_modules(tmp_path: Path) -> None:
    first = [sys.executable, "-m", "dale.synthetic", "--out", str(tmp_path / "a"), "--samples", "6"]
    done = subprocess.run([*first, "--image-size", "32"], capture_output=True, text=True, check=True)
    assert "6 samples, 2 labels corrupted" in done.stdout
    second = [sys.executable, "-m", "dale.noise", "--data", str(tmp_path / "a"), "--out", str(tmp_path / "b")]
    done = subprocess.run([*second, "--noise", "dilate"], capture_output=True, text=True, check=True)
    assert "dilate 2" in done.stdout
    done = subprocess.run([*second], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert "Traceback" not in done.stderr


def test_annotator_styles_name_the_annotator_of_every_sample(clean: Path, tmp_path: Path) -> None:
    command = f"--data {clean} --ratio 0.4 --seed 2 --out {tmp_path}"
    noise_command(f"{command}/style --noise style:dilate --annotators 5".split())
    noise_command(f"{command}/again --noise style:dilate --annotators 5".split())
    noise_command(f"{command}/kind --noise dilate".split())
    assert files(tmp_path / "style") == files(tmp_path / "again")
    assert (tmp_path / "style/truth.csv").read_text().startswith("id,kind,dice,annotator\n")
    assert (tmp_path / "kind/truth.csv").read_text().startswith("id,kind,dice\n")
    truth = read_truth(tmp_path / "style/truth.csv")
    assert {record.annotator for record in truth} == {"a0", "a1", "a2", "a3", "a4"}
    styled = {record.annotator for record in truth if record.kind == "dilate"}
    assert len(styled) == 2
    for record in truth:
        before, after = (read_values(f / f"masks/{record.id}.png") for f in (clean, tmp_path / "style"))
        assert (record.kind == "clean") == (before == after).all()
        assert (record.kind == "dilate") == (record.annotator in styled and bool(before.any()))
    assert {record.annotator for record in read_truth(tmp_path / "kind/truth.csv")} == {""}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--noise style:dilate", "need each other"),
        ("--noise dilate --annotators 5", "need each other"),
        ("--noise style:swapped --annotators 5", "unknown style 'swapped'"),
        ("--noise style:dilate,erode --annotators 5", "unknown style 'dilate,erode'"),
        ("--noise style:dilate --annotators 0", "annotators is 0"),
    ],
)
def test_bad_styles_are_refused_in_words(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, words: str
) -> None:
    with pytest.raises(SystemExit):
        noise_command(f"--data {clean} --out {tmp_path / 'out'} {options}".split())
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_mask_values_survive_and_lossy_masks_are_cut(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for i in range(4):
        image, mask = lesion_image(48, np.random.default_rng(i + 20))
        Image.fromarray(image).save(folder / f"images/x{i}.jpg")
        values = mask * np.uint8(7)
        values[10:14, 10:14] = 200
        Image.fromarray(values).convert("RGB").save(folder / f"masks/x{i}.png")
    write_noisy_copy(folder, tmp_path / "out", ratio=0.5, kinds=["dilate"], seed=0)
    for path in (tmp_path / "out/masks").iterdir():
        assert set(np.unique(np.asarray(Image.open(path)))) <= {0, 7, 200}
    lossy = tmp_path / "lossy.jpg"
    Image.fromarray(mask * np.uint8(255)).save(lossy, quality=60)
    assert (read_values(lossy) == mask * 255).mean() > 0.98
    assert set(np.unique(read_values(lossy))) == {0, 255}


def test_bad_folders_are_refused_in_words_and_leave_nothing(clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refused(data: Path, words: str, **options: int) -> None:
        with pytest.raises(BadFolder, match=words):
            write_noisy_copy(data, out, ratio=0.2, kinds=["erode"], seed=0, **options)
        assert not out.exists()
        assert not list(tmp_path.glob(".out-*"))

    refused(tmp_path / "none", "images is missing")
    refused(clean, "leaves nothing", hold_out=20)
    bad = tmp_path / "bad"
    shutil.copytree(clean, bad)
    (bad / "masks/lesion-0003.png").unlink()
    (bad / "masks/stray.png").write_bytes(b"")
    refused(bad, r"lesion-0003.png, masks/stray.png")
    (bad / "images/lesion-0003.png").unlink()
    (bad / "masks/stray.png").unlink()
    (bad / "masks/lesion-0004.png").write_bytes(b"no image")
    refused(bad, "lesion-0004.png cannot be read")
    image, _ = lesion_image(48, np.random.default_rng(0))
    Image.fromarray(image).save(bad / "masks/lesion-0004.png")
    refused(bad, "colour image")
    Image.fromarray(np.arange(48 * 48).reshape(48, 48).astype(np.uint8)).save(bad / "masks/lesion-0004.png")
    refused(bad, "label mask")
    (bad / "images/lesion-0005.jpg").write_bytes(b"")
    refused(bad, "more than one file of one name.*lesion-0005")


def test_synthetic_images_are_varied_and_not_solved_by_a_threshold() -> None:
    pairs = [lesion_image(64, rng) for rng in np.random.default_rng(0).spawn(60)]
    areas = [mask.mean() for _, mask in pairs]
    assert any(area == 0 for area in areas)
    assert 0.02 < np.mean(areas) < 0.25
    best = []
    for image, mask in pairs:
        if mask.any():
            grey = image.mean(axis=2)
            cut = grey < np.quantile(grey, mask.mean())  # told the true area, dark = lesion
            best.append(2 * (cut & (mask > 0)).sum() / (cut.sum() + mask.sum()))
    assert np.mean(best) < 0.65
    contrast = [
        abs(image[mask > 0].mean(axis=0) - image[mask == 0].mean(axis=0)).max() for image, mask in pairs if mask.any()
    ]
    assert np.median(contrast) > 20
