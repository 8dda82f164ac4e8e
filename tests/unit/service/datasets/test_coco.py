"""COCO's format: drawn as pycocotools draws it, and every malformed entry named by its id."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as reference
from pycocotools.coco import COCO

from service.datasets.archive import Archive, MemberFault
from service.datasets.formats import coco_shapes
from service.datasets.formats.coco import read_coco
from service.datasets.importing import Import
from service.datasets.kinds import LayoutKind
from service.datasets.layout import read_layout, recognise
from service.datasets.limits import ImportLimits
from service.datasets.options import ImportOptions
from service.errors import Invalid
from workers.contract import keys
from workers.contract.store import open_store

HEIGHT, WIDTH = 20, 30
LESION, SCAR = 4, 9  # ids of categories; in the file the other way round


def blob(seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    rows, columns = np.ogrid[: size[0], : size[1]]
    y, x, radius = np.random.default_rng(seed).integers((3, 3, 3), (size[0] - 3, size[1] - 3, 7))
    return np.asfortranarray((rows - y) ** 2 + (columns - x) ** 2 < radius**2, dtype=np.uint8)


def rle(mask: np.ndarray) -> dict[str, Any]:
    packed = reference.encode(np.asfortranarray(mask))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


def runs(mask: np.ndarray) -> dict[str, Any]:
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=0))
    return {"size": list(mask.shape), "counts": np.diff([0, *edges, flat.size]).tolist()}


def polygon(seed: int, points: int = 7) -> list[float]:
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, points))
    radii = random.uniform(2, 12, points)
    xy = np.stack([15 + radii * np.cos(angles), 10 + radii * np.sin(angles)], axis=1)  # some leave the image
    return [round(float(number), 2) for number in xy.ravel()]


def annotation(key: int, image: int, category: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    return {"id": key, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}


def description(count: int = 4) -> dict[str, Any]:
    return {
        "info": {"year": 2020},
        "images": [
            {"id": 10 + n, "file_name": f"case {n}.png", "width": WIDTH, "height": HEIGHT} for n in range(count)
        ],
        "categories": [{"id": SCAR, "name": "scar"}, {"id": LESION, "name": "lesion"}],
        "annotations": [
            annotation(1, 10, LESION, [polygon(0), polygon(1)]),
            annotation(2, 11, SCAR, rle(blob(2))),
            annotation(3, 11, LESION, runs(blob(3)), iscrowd=1),
            annotation(4, 12, LESION, [polygon(4, points=12)]),
            annotation(5, 12, SCAR, [polygon(5, points=3)]),
        ],
    }


def members(upload: Any, about: Any = None, folder: str = "photos/") -> dict[str, bytes]:
    files = {f"{folder}case {n}.png": upload.photo(n) for n in range(4)}
    content = about if isinstance(about, bytes) else json.dumps(about or description()).encode()
    return files | {"annotations.json": content}


def masks(upload: Any, files: dict[str, bytes]) -> Iterator[tuple[str, np.ndarray]]:
    archive = Archive(upload.zip(files), ImportLimits())
    layout = read_layout(archive, ImportLimits(), upload.scratch)
    assert not layout.faults
    for pair in layout.pairs:
        pair.mask.extract(archive, upload.scratch / "drawn")
        yield pair.name, np.asarray(Image.open(upload.scratch / "drawn"))


def test_what_it_becomes(upload: Any) -> None:
    checked = upload.check(members(upload))
    assert (checked.layout, checked.mask_values) == (LayoutKind.COCO, [0, 1, 2])
    assert [sample.pair.name for sample in checked.samples] == [f"case {n}" for n in range(4)]
    assert {sample.mask_media_type for sample in checked.samples} == {"image/png"}
    warned = {warning.file: warning.reason for warning in checked.warnings}
    assert warned["annotations.json (image 13)"] == "is empty"
    assert "different classes over each other" in warned["annotations.json (image 12)"]


def test_images_that_nobody_has_annotated_are_a_dataset_to_be_predicted(upload: Any) -> None:
    about = description()
    about["annotations"] = []
    checked = upload.check(members(upload, about))
    assert checked.mask_values == [0, 1, 2]  # as the categories say
    assert {sample.foreground for sample in checked.samples} == {0.0}
    told = [warning.reason for warning in checked.warnings if warning.file == "annotations.json"]
    assert told == ["every label is empty: a model can predict these images, none can learn from them"]


def test_every_annotation_as_pycocotools_draws_it(upload: Any, tmp_path: Path) -> None:
    about = description(1)
    shapes = [[polygon(n, 3 + n)] for n in range(30)] + [[polygon(n), polygon(n + 50)] for n in range(10)]
    shapes += [rle(blob(n)) for n in range(20)] + [runs(blob(n)) for n in range(20)]
    shapes += [rle(np.zeros((HEIGHT, WIDTH), np.uint8)), rle(np.ones((HEIGHT, WIDTH), np.uint8))]
    shapes += [rle((np.random.default_rng(n).random((HEIGHT, WIDTH)) < 0.5).astype(np.uint8)) for n in range(10)]
    about["annotations"] = [annotation(n, 10, LESION, shape) for n, shape in enumerate(shapes)]
    (tmp_path / "a.json").write_text(json.dumps(about))
    theirs = COCO(tmp_path / "a.json")
    for entry in about["annotations"]:
        shape = coco_shapes.read_shape(entry["segmentation"], HEIGHT, WIDTH)
        drawn = coco_shapes.Drawn(shape, HEIGHT, WIDTH)
        expected = theirs.annToMask(entry)
        assert np.array_equal(drawn.pixels(), expected) and drawn.area == expected.sum()


def test_masks_as_pycocotools_draws_them(upload: Any, tmp_path: Path) -> None:
    about = description()
    (tmp_path / "a.json").write_text(json.dumps(about))
    theirs = COCO(tmp_path / "a.json")
    found = dict(masks(upload, members(upload, about)))
    for image in about["images"]:
        drawn = [(theirs.annToMask(a), a["category_id"]) for a in about["annotations"] if a["image_id"] == image["id"]]
        expected = np.zeros((HEIGHT, WIDTH), np.uint8)
        for pixels, category in sorted(drawn, key=lambda one: -int(one[0].sum())):
            expected[pixels == 1] = {LESION: 1, SCAR: 2}[category]  # in the order of the ids
        assert np.array_equal(found[image["file_name"].removesuffix(".png")], expected)


def test_the_smaller_one_lies_above_and_the_overlap_is_told(upload: Any) -> None:
    small, large = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    large[2:12, 5:25] = 1  # 200 pixels
    small[5:10, 10:20] = 1  # 50 of them
    for entries in ((small, large), (large, small)):
        about = description()
        about["annotations"] = [
            annotation(n, 10, SCAR if m is small else LESION, rle(m)) for n, m in enumerate(entries)
        ]
        assert np.array_equal(dict(masks(upload, members(upload, about)))["case 0"], large + small)
        warned = {warning.file: warning.reason for warning in upload.check(members(upload, about)).warnings}
        assert "(25.0% of what is annotated)" in warned["annotations.json (image 10)"]
    about["annotations"][0]["category_id"] = about["annotations"][1]["category_id"] = LESION
    warnings = upload.check(members(upload, about)).warnings
    assert not any("over each other" in warning.reason for warning in warnings)


def test_stored_as_it_was_checked(upload: Any, tmp_path: Path) -> None:
    """Masks are drawn twice; the blobs are under the hashes of the check, and images keep their bytes."""
    store = open_store((tmp_path / "store").as_uri())
    files = members(upload)
    work = Import(store, ImportLimits(), upload.zip(files), ImportOptions())
    checked = work.check()
    work.store()
    drawn = dict(masks(upload, files))
    for sample in checked.samples:
        stored = store.get(keys.blob(work.dataset_id, sample.mask_sha256))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored))), drawn[sample.pair.name])
        assert store.get(keys.blob(work.dataset_id, sample.image_sha256)) == files[f"photos/{sample.pair.name}.png"]


def test_how_files_are_found(upload: Any) -> None:
    about = description(3)
    for image, name in zip(about["images"], ("a/x.png", "b\\x.png", "./y.png"), strict=True):
        image["file_name"] = name
    files = {
        "set/annotations/instances_all.json": json.dumps(about).encode(),
        "set/annotations/notes.json": b"{}",
        "set/train/a/x.png": upload.photo(0),
        "set/train/b/x.png": upload.photo(1),
        "set/y.png": upload.photo(2),
        "set/z.png": upload.photo(3),
        "set/zz.png": upload.photo(4),
    }
    checked = upload.check(files)
    assert [sample.pair.name for sample in checked.samples] == ["set_train_a_x", "set_train_b_x", "y"]
    ignored = {w.file: w.reason for w in checked.warnings if "not listed" in w.reason}
    assert ignored == {
        "set/annotations/notes.json": "is not listed in set/annotations/instances_all.json, ignored",
        "set/z.png": "is not listed in set/annotations/instances_all.json, ignored, and 1 more of its folder",
    }


def test_a_wrong_guess_can_be_overruled(upload: Any) -> None:
    files = upload.good(4) | {"annotations.json": json.dumps(description()).encode()}
    files["images/more.png"] = upload.photo(9)
    files["masks/more.png"] = upload.encode(upload.disc())
    assert recognise(Archive(upload.zip(files), ImportLimits()).members) is LayoutKind.FOLDERS
    with pytest.raises(Invalid) as refused:
        upload.check(files, layout="coco")
    assert "in several folders" in refused.value.errors[0].reason
    for image in (about := description())["images"]:
        image["file_name"] = "images/" + image["file_name"]
    files["annotations.json"] = json.dumps(about).encode()
    assert upload.check(files, layout="coco").layout is LayoutKind.COCO


def changed(part: str, place: int = 0, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda about: about[part][place].update(values)


GOOD = [1, 1, 9, 1, 9, 9]
FAULTS = {
    "image": (changed("annotations", image_id=99), "annotation 1: is of image 99"),
    "category": (changed("annotations", category_id=99), "annotation 1: is of category 99"),
    "size": (changed("images", 3, width=31), "is 31 x 20, its image 30 x 20 pixels"),
    "vast": (changed("images", width=10**6, height=10**6), "image 10: has 1000000 x 1000000 pixels"),
    "no size": (changed("images", width=0), "image 10: width"),
    "text": (changed("images", id="ten"), "image ten: id"),
    "truth": (changed("images", id=True), "image True: id"),
    "twice": (changed("images", 1, id=10), "image 10: has the id of another image"),
    "missing": (changed("images", file_name="gone.png"), "image 10: there is no file 'gone.png'"),
    "outside": (changed("images", file_name="../../etc/passwd"), "there is no file '../../etc/passwd'"),
    "duplicate": (changed("images", 1, file_name="case 0.png"), "image 11: has the file of image 10"),
    "same name": (changed("categories", name="lesion"), "category 4: has the id or name of another"),
    "no name": (changed("categories", name=""), "category 9: name"),
    "box": (changed("annotations", segmentation=[]), "annotation 1: has no segmentation"),
    "none": (changed("annotations", segmentation=None), "annotation 1: has no segmentation"),
    "flat": (changed("annotations", segmentation=GOOD), "no list of numbers"),
    "two points": (changed("annotations", segmentation=[[1, 2, 3, 4]]), "a polygon of 4 numbers"),
    "odd": (changed("annotations", segmentation=[[*GOOD, 3]]), "a polygon of 7 numbers"),
    "words": (changed("annotations", segmentation=[[*GOOD, "1", "2"]]), "no list of numbers"),
    "nan": (changed("annotations", segmentation=[[*GOOD, float("nan"), 2]]), "far outside"),
    "infinity": (changed("annotations", segmentation=[[*GOOD, float("inf"), 2]]), "far outside"),
    "far": (changed("annotations", segmentation=[[*GOOD, 1e9, 2]]), "far outside"),
    "huge": (changed("annotations", segmentation=[[*GOOD, 10**400, 2]]), "far outside"),
    "long": (changed("annotations", segmentation=[[0, 0, 30, 20] * 50_000]), "an outline of"),
    "rle size": (changed("annotations", 1, segmentation=rle(blob(1, (HEIGHT, WIDTH + 1)))), "a mask of size [20, 31]"),
    "no counts": (changed("annotations", 1, segmentation={"size": [HEIGHT, WIDTH]}), "counts that are neither"),
    "negative": (
        changed("annotations", 1, segmentation={"size": [HEIGHT, WIDTH], "counts": [601, -1]}),
        "counts that are neither",
    ),
    "too few": (
        changed("annotations", 1, segmentation={"size": [HEIGHT, WIDTH], "counts": [599]}),
        "599 pixels in all",
    ),
    "bomb": (
        changed("annotations", 1, segmentation={"size": [HEIGHT, WIDTH], "counts": [2**62, 2**62]}),
        "pixels in all",
    ),
    "cut": (changed("annotations", 1, segmentation={"size": [HEIGHT, WIDTH], "counts": "o"}), "end in the middle"),
    "endless": (
        changed("annotations", 1, segmentation={"size": [HEIGHT, WIDTH], "counts": "o" * 99}),
        "cannot be read",
    ),
    "strange": (changed("annotations", 1, segmentation={"size": [HEIGHT, WIDTH], "counts": "é "}), "cannot be read"),
}


@pytest.mark.parametrize(("change", "reason"), FAULTS.values(), ids=FAULTS)
def test_faults(upload: Any, change: Callable[[dict[str, Any]], None], reason: str) -> None:
    change(about := description())
    with pytest.raises(Invalid) as refused:
        upload.check(members(upload, about))
    fitting = [fault for fault in refused.value.errors if reason in fault.reason]
    assert fitting and all(fault.file and fault.file.startswith("annotations.json") and fault.hint for fault in fitting)


def test_files_that_are_not_in_the_format(upload: Any) -> None:
    for content, reason in (
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[]", "has no list of images, categories, annotations"),
        (b'{"images": {}, "categories": []}', "has no list of images, annotations"),
    ):
        assert reason in upload.faults(members(upload, content))["annotations.json"].reason
    content = {"images": [1, None, []], "categories": [{}], "annotations": [[], "x", {}]}
    with pytest.raises(Invalid) as refused:
        upload.check(members(upload, content))
    assert len(refused.value.errors) == 7
    about = description()
    about["categories"] = [{"id": n, "name": f"c{n}"} for n in range(64)]
    assert "has 64 categories" in upload.faults(members(upload, about))["annotations.json"].reason
    about = description()
    about["annotations"] = [{"id": n} for n in range(2000)]
    with pytest.raises(Invalid) as refused:
        upload.check(members(upload, about))
    assert len(refused.value.errors) <= 510
    assert "faults that are not listed: 1500" in {fault.reason for fault in refused.value.errors}
    about = description()
    about["annotations"] = [annotation(n, 10, LESION, [[0, 0, 30, 20] * 15_000]) for n in range(25)]
    assert "has 25 annotations, too many" in upload.faults(members(upload, about))["annotations.json"].reason
    several = members(upload) | {"instances_b.json": b"{}"}
    assert "several descriptions" in upload.faults(several)["annotations.json"].reason


def test_hostile_descriptions_are_faults(upload: Any, break_bytes: Callable[[bytes, int], bytes]) -> None:
    """Bytes anywhere in the file, and numbers of the shapes, which reach C code where they pass."""
    whole = json.dumps(description()).encode()
    random = np.random.default_rng(0)
    passed = 0
    for seed in range(600):
        if seed % 2:
            content = break_bytes(whole, seed - seed % 4)
        else:
            about = description()
            for entry in about["annotations"]:
                numbers = entry["segmentation"] if isinstance(entry["segmentation"], list) else None
                if numbers:
                    place = random.integers(len(numbers[0]))
                    numbers[0][place] = float(random.choice([-30, 60, 59.999, 0, -0.5, 30, 20, 1e-300, 44]))
                elif isinstance(counts := entry["segmentation"]["counts"], str):
                    place = random.integers(len(counts))
                    text = counts[:place] + chr(48 + random.integers(64)) + counts[place + 1 :]
                    entry["segmentation"]["counts"] = text
            content = json.dumps(about).encode()
        archive = Archive(upload.zip(members(upload, content)), ImportLimits())
        try:
            layout = read_coco(archive, ImportLimits(), upload.scratch)
        except Invalid as refused:
            assert all(fault.reason and fault.file for fault in refused.errors)
            continue
        assert all(fault.reason for fault in layout.faults)
        for pair in layout.pairs:
            try:
                pair.mask.extract(archive, upload.scratch / "drawn")
            except MemberFault as fault:
                assert fault.reason
                continue
            assert set(np.unique(np.asarray(Image.open(upload.scratch / "drawn")))) <= {0, 1, 2}
            passed += 1
    assert passed > 100
