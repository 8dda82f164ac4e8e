"""Several masks of one image: each is a sample, and it is told how far those who drew them agree."""

import itertools
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.api.dependencies import Context
from service.errors import Invalid
from tests.volumes import nifti
from workers.contract import keys, tables

SIZE = (20, 30)
SHIFTS = {"Ada": 0, "Bo": 2, "Cy": 9}


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


def masks_of(upload: Any, number: int) -> dict[str, np.ndarray]:
    """The masks of an image; Cy drew no empty ones, and not the last image."""
    people = {name: np.roll(upload.disc(size=SIZE), shift + number, axis=1) for name, shift in SHIFTS.items()}
    if number == 3:
        people = {"Ada": people["Ada"] * 0, "Bo": people["Bo"] * 0}
    return people


@pytest.fixture
def members(upload: Any) -> dict[str, bytes]:
    found = {f"images/case {number}.png": upload.photo(number, SIZE) for number in range(4)}
    for number in range(4):
        for name, mask in masks_of(upload, number).items():
            found[f"masks/{name}/case {number}.png"] = upload.encode(mask)
    return found


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * ((a > 0) & (b > 0)).sum() / ((a > 0).sum() + (b > 0).sum())) if (a > 0).any() else 1.0


def test_every_mask_is_a_sample_with_the_agreement_of_the_others(upload: Any, members: dict[str, bytes]) -> None:
    checked = upload.check(members)
    assert not checked.warnings or {warning.reason for warning in checked.warnings} == {"is empty"}
    samples = {sample.pair.name: sample for sample in checked.samples}
    assert len(samples) == 11
    for number in range(4):
        masks = masks_of(upload, number)
        for name, mask in masks.items():
            sample = samples[f"case {number}@{name}"]
            assert (sample.facts.annotator, sample.facts.group) == (name, f"case {number}")
            expected = np.mean([dice(mask, other) for person, other in masks.items() if person != name])
            assert sample.facts.agreement == pytest.approx(expected)
    assert len({sample.image_sha256 for sample in checked.samples}) == 4
    told = checked.agreement
    assert {person.annotator: person.masks for person in told.annotators} == {"Ada": 4, "Bo": 4, "Cy": 3}
    for pair in told.pairs:
        both = [masks_of(upload, n) for n in range(4) if {pair.first, pair.second} <= masks_of(upload, n).keys()]
        assert pair.images == len(both)
        assert pair.dice == pytest.approx(np.mean([dice(m[pair.first], m[pair.second]) for m in both]))
    assert [(pair.first, pair.second) for pair in told.pairs] == list(itertools.combinations(SHIFTS, 2))


def test_masks_of_one_image_go_to_one_split(upload: Any, members: dict[str, bytes]) -> None:
    checked = upload.check(members, test_share=0.5)
    splits: dict[str, set[str | None]] = {}
    for sample in checked.samples:
        splits.setdefault(sample.pair.image_name, set()).add(sample.facts.split)
    assert all(len(found) == 1 for found in splits.values())
    assert set().union(*splits.values()) == {"train", "test"}


def test_rows_of_an_image_are_of_all_its_masks_and_those_of_a_mask_go_before(
    upload: Any, members: dict[str, bytes]
) -> None:
    about = b"name,group,verified\ncase 1@Bo,,false\ncase 1,P1,true\n"
    checked = upload.check(members | {"samples.csv": about})
    found = {s.pair.name: (s.facts.group, s.facts.verified) for s in checked.samples if "case 1" in s.pair.name}
    assert found == {"case 1@Ada": ("P1", True), "case 1@Bo": ("P1", False), "case 1@Cy": ("P1", True)}


def test_a_pattern_looks_at_the_image(upload: Any, members: dict[str, bytes]) -> None:
    checked = upload.check(members, group_pattern="(.)$")
    assert {sample.facts.group for sample in checked.samples} == {"0", "1", "2", "3"}


def test_what_is_wrong_with_folders_of_annotators(upload: Any, members: dict[str, bytes]) -> None:
    mask = upload.encode(upload.disc())
    wrong = {
        "masks/case 0.png": "is in no annotator's folder",
        "masks/a@b/case 0.png": "whose name cannot be an annotator's",
        "masks/Ada/deep/case 0.png": "in a folder below masks",
        "masks/Ada/none.png": "has no image",
    }
    found = upload.faults(members | dict.fromkeys(wrong, mask) | {"images/alone.png": upload.photo(9)})
    assert found.keys() == wrong.keys() | {"images/alone.png"}
    assert all(reason in found[path].reason for path, reason in wrong.items())
    assert found["images/alone.png"].reason == "has no mask"


def test_a_bad_image_is_named_once(upload: Any, members: dict[str, bytes]) -> None:
    with pytest.raises(Invalid) as refused:
        upload.check(members | {"images/case 1.png": b"no image"})
    assert [error.file for error in refused.value.errors] == ["images/case 1.png"]


def test_the_table_cannot_contradict_the_folder(upload: Any, members: dict[str, bytes]) -> None:
    fault = upload.faults(members | {"samples.csv": b"name,annotator\ncase 0@Ada,Bo\n"})["samples.csv"]
    assert fault.reason == "says that 'Bo' drew 'case 0@Ada'"


def test_annotators_of_a_flat_layout(upload: Any) -> None:
    about = b"name,annotator\ncase 0,Ada\ncase 1,Bo\n"
    checked = upload.check(upload.good(3) | {"samples.csv": about})
    assert [(sample.facts.annotator, sample.facts.agreement) for sample in checked.samples] == [
        ("Ada", None),
        ("Bo", None),
        (None, None),
    ]
    assert [(person.annotator, person.agreement) for person in checked.agreement.annotators] == [
        ("Ada", None),
        ("Bo", None),
    ]


def test_volumes_by_annotators(upload: Any) -> None:
    rng = np.random.default_rng(0)
    labels = {name: (rng.random((7, 9, 11)) < 0.4).astype(np.uint8) for name in ("Ada", "Bo")}
    members = {"images/a.nii.gz": nifti(rng.normal(0, 1, (7, 9, 11)).astype(np.float32))}
    members |= {f"masks/{name}/a.nii.gz": nifti(label, compressed=name == "Bo") for name, label in labels.items()}
    members["masks/Ada/a.nii"] = members.pop("masks/Ada/a.nii.gz")
    checked = upload.check(members)
    assert [s.facts.agreement for s in checked.samples] == pytest.approx([dice(*labels.values())] * 2)


def test_grey_masks_agree_as_they_are_stored(upload: Any) -> None:
    soft = np.where(upload.disc(size=SIZE) > 0, 200, 90).astype(np.uint8)
    members = {"images/a.png": upload.photo(0, SIZE), "masks/Ada/a.png": upload.encode(soft)}
    members["masks/Bo/a.png"] = upload.encode(upload.disc(size=SIZE))
    checked = upload.check(members, mask_threshold=128)
    assert [sample.facts.agreement for sample in checked.samples] == [1.0, 1.0]


def test_over_http_and_through_a_correction(
    client: TestClient, context: Context, upload: Any, members: dict[str, bytes]
) -> None:
    answer = client.post("/v1/datasets", files={"file": ("x.zip", upload.zip(members))}, data={"name": "x"})
    assert answer.status_code == 201, answer.text
    dataset, version = answer.json()["id"], answer.json()["newest"]
    assert [person["annotator"] for person in version["agreement"]["annotators"]] == ["Ada", "Bo", "Cy"]
    before = {row["sample"]: row["agreement"] for row in client.get(version["samples"]).json()["samples"]}
    table = tables.from_parquet(context.store.get(keys.version(dataset, 1)), tables.SAMPLES)
    assert table["agreement"].to_pylist() == pytest.approx(list(before.values()), rel=1e-6)
    assert table["annotator"].to_pylist()[:3] == ["Ada", "Bo", "Cy"]
    assert len(list(context.store.list(f"datasets/{dataset}/blobs/"))) == 4 + len(
        {value for key, value in members.items() if "masks" in key}
    )

    parts = {"file": ("masks.zip", upload.zip({"masks/case 1@Cy.png": members["masks/Bo/case 2.png"]}))}
    made = client.post(f"/v1/datasets/{dataset}/versions", files=parts)
    assert made.status_code == 201, made.text
    after = {row["sample"]: row["agreement"] for row in client.get(made.json()["samples"]).json()["samples"]}
    changed = {name for name in after if name.startswith("case 1@")}
    assert {name for name, value in after.items() if value is None} == changed
    assert all(after[name] == before[name] for name in after.keys() - changed)
    told = made.json()["agreement"]
    assert [person["masks"] for person in told["annotators"]] == [4, 4, 3]
    assert told["pairs"] == []
