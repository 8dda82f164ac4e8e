"""Groups and splits of an upload: said by `samples.csv`, found in names, or drawn."""

import hashlib
from typing import Any

import pytest
from pydantic import ValidationError

from service.datasets.options import ImportOptions
from service.datasets.rows import sample_rows
from service.datasets.splitting import is_held_out, numbered
from service.errors import Invalid


def members(upload: Any, names: list[str], about: str = "", **more: bytes) -> dict[str, bytes]:
    """An upload of images that are all different, with a `samples.csv`."""
    files = {f"images/{name}.png": upload.photo(number) for number, name in enumerate(names)}
    files |= {f"masks/{name}.png": upload.encode(upload.disc()) for name in names}
    return files | ({"samples.csv": about.encode()} if about else {}) | more


PATIENTS = [f"P{patient}_{side}" for patient in range(40) for side in ("left", "right")]


def split_of(checked: Any) -> dict[str, str | None]:
    return {sample.pair.name: sample.facts.split for sample in checked.samples}


def test_without_a_word_nothing_is_held_out(upload: Any) -> None:
    checked = upload.check(members(upload, ["b", "a"]))
    assert split_of(checked) == {"a": None, "b": None}
    assert [sample.pair.name for sample in checked.samples] == ["a", "b"]


def test_what_the_file_says(upload: Any) -> None:
    about = "\ufeffverified,name,group,split,annotator\ntrue,a,P1,test,Ada\n,c,,,\nNo,b,P2,,Bo\n"
    checked = upload.check(members(upload, ["a", "b", "c", "d"], about))
    assert [(s.pair.name, *list(vars(s.facts).values())[:4]) for s in checked.samples] == [
        ("b", "P2", "train", "Bo", False),
        ("c", None, "train", None, None),
        ("d", None, "train", None, None),
        ("a", "P1", "test", "Ada", True),
    ]
    assert [row["ordinal"] for row in sample_rows(checked)] == [0, 1, 2, 3]
    assert sample_rows(checked)[3]["split"] == "test"
    assert not checked.warnings


@pytest.mark.parametrize("spelling", ["val", "valid", "validation", "dev", "Val", "VALIDATION"])
def test_validation_samples_stand_between_the_others(upload: Any, spelling: str) -> None:
    checked = upload.check(members(upload, ["a", "b", "c"], f"name,split\na,test\nb,{spelling}\n"))
    rows = sample_rows(checked)
    assert [(row["ordinal"], row["name"], row["split"]) for row in rows] == [
        (0, "c", "train"),
        (1, "b", "validation"),
        (2, "a", "test"),
    ]
    assert numbered(rows[::-1]) == rows


def test_the_file_lies_beside_the_images_wherever_these_are(upload: Any) -> None:
    inside = {f"lesions/{path}": data for path, data in members(upload, ["a", "b"], "name,group\na,P1\n").items()}
    checked = upload.check(inside)
    assert [sample.facts.group for sample in checked.samples] == ["P1", None]
    assert not checked.warnings


@pytest.mark.parametrize(
    ("about", "line", "reason"),
    [
        ("name,group\nb,P1\nx,P1\n", 3, "there is no sample 'x'"),
        ("name,group\na,P1\nb,P1\na,P1\n", 4, "names 'a' again, as line 2 does"),
        ("name,split\na,validate\n", 2, "has the split 'validate'"),
        ("name,verified\na,perhaps\n", 2, "has 'perhaps' as verified"),
        ("name,group\na," + "g" * 201 + "\n", 2, "has an impossible group"),
        ("name,annotator\na,A\x07da\n", 2, "has an impossible annotator"),
        ("name,patient\na,P1\n", 1, "has the column 'patient'"),
        ("name;group\na;P1\n", 1, "has the column 'name;group'"),
        ("name,name\na,a\n", 1, "has the column 'name' twice"),
        ("group\nP1\n", 1, "has no column 'name'"),
        ("name,group\na\n", 2, "has 1 fields, the first line 2"),
        ("name,group\n,P1\n", 2, "names no sample"),
        ('name,group\n"a,P1\n', 2, "is no CSV"),
    ],
)
def test_faults_are_named_by_line(upload: Any, about: str, line: int, reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        upload.check(members(upload, ["a", "b"], about))
    fault = refused.value.errors[0]
    assert fault.file == "samples.csv"
    assert fault.reason.startswith(f"line {line}: {reason}")


def test_a_file_that_is_no_text(upload: Any) -> None:
    found = upload.faults(members(upload, ["a", "b"]) | {"samples.csv": "name\nä".encode("utf-16")})
    assert found["samples.csv"].reason == "is not UTF-8 text"


def test_many_faults_are_counted(upload: Any) -> None:
    about = "name\n" + "".join(f"x{number}\n" for number in range(1000))
    with pytest.raises(Invalid, match="cannot be used") as refused:
        upload.check(members(upload, ["a", "b"], about))
    assert len(refused.value.errors) == 101


def test_groups_are_drawn_as_a_whole_and_stay_where_they_are(upload: Any) -> None:
    options = {"group_pattern": r"^(P\d+)_", "test_share": 0.3, "split_seed": 5}
    found = split_of(upload.check(members(upload, PATIENTS), **options))
    for name, split in found.items():
        digest = hashlib.sha256(f"5:{name.partition('_')[0]}".encode()).hexdigest()
        assert split == ("test" if int(digest[:16], 16) / 2**64 < 0.3 else "train")
    assert 0.1 < list(found.values()).count("test") / len(found) < 0.5
    more = split_of(upload.check(members(upload, [*PATIENTS, "P77_left", "P0_top"]), **options))
    assert {name: more[name] for name in found} == found
    assert more["P0_top"] == found["P0_left"]
    other = split_of(upload.check(members(upload, PATIENTS), **{**options, "split_seed": 6}))
    assert other != found


def test_the_validation_share_is_taken_from_the_training_alone(upload: Any) -> None:
    options = {"group_pattern": r"^(P\d+)_", "test_share": 0.3, "split_seed": 5}
    before = split_of(upload.check(members(upload, PATIENTS), **options))
    found = split_of(upload.check(members(upload, PATIENTS), **options, validation_share=0.25))
    for name, split in found.items():
        place = int(hashlib.sha256(f"5:{name.partition('_')[0]}".encode()).hexdigest()[:16], 16) / 2**64
        assert split == ("test" if place < 0.3 else "validation" if place < 0.55 else "train")
        assert (split == "test") == (before[name] == "test")
    assert set(found.values()) == {"train", "validation", "test"}
    alone = split_of(upload.check(members(upload, PATIENTS), **{**options, "test_share": 0.0}, validation_share=0.3))
    assert {name: split.replace("validation", "test") for name, split in alone.items() if split} == before


def test_the_share_is_met_over_many_groups() -> None:
    held_out = sum(is_held_out(0, f"patient {number}", 0.2) for number in range(20_000))
    assert held_out / 20_000 == pytest.approx(0.2, abs=0.01)


def test_a_given_group_goes_before_the_pattern(upload: Any) -> None:
    about = "name,group\nP1_a,other\n"
    checked = upload.check(members(upload, ["P1_a", "P1_b", "x"], about), group_pattern=r"^(P\d+)_")
    assert {s.pair.name: s.facts.group for s in checked.samples} == {"P1_a": "other", "P1_b": "P1", "x": None}
    assert [(w.file, w.hint) for w in checked.warnings] == [("x", "see group_pattern")]


@pytest.mark.parametrize(
    ("about", "options", "field", "reason"),
    [
        ("name,group,split\na,P1,test\nb,P1,train\n", {}, None, "tears group 'P1': 'b' is trained on, 'a' held out"),
        ("name,split\na,test\nb,test\nc,test\n", {}, "split", "holds out every sample"),
        (
            "name,group,split\na,P1,val\nb,P1,\n",
            {},
            None,
            "tears group 'P1': 'b' is trained on, 'a' for validation",
        ),
        (
            "name,group,split\na,P1,val\nb,P1,test\n",
            {},
            None,
            "tears group 'P1': 'a' is for validation, 'b' held out",
        ),
        ("name,split\na,dev\n", {"validation_share": 0.5}, "validation_share", "samples.csv has splits already"),
        ("name,split\na,val\nb,val\nc,test\n", {}, "split", "holds out every sample"),
        ("name,split\na,test\n", {"test_share": 0.5}, "test_share", "samples.csv has splits already"),
        ("", {"group_pattern": "(.)", "test_share": 0.9, "split_seed": 0}, "test_share", "holds out every sample"),
        ("", {"group_pattern": "^(P[0-9]+)_"}, "group_pattern", "finds a group in no name, such as 'a'"),
    ],
)
def test_splits_that_cannot_be(upload: Any, about: str, options: dict[str, Any], field: str, reason: str) -> None:
    (fault,) = upload.faults(members(upload, ["a", "b", "c"], about), **options).values()
    assert fault.field == field
    assert fault.reason == reason


def test_empty_masks_alone_are_not_left(upload: Any) -> None:
    files = members(upload, ["a", "b"], "name,split\na,test\n")
    files["masks/b.png"] = upload.encode(upload.disc(0))
    (fault,) = upload.faults(files).values()
    assert fault.reason == "leaves only empty masks to train on"


def test_a_draw_that_holds_nothing_out_is_said(upload: Any) -> None:
    checked = upload.check(members(upload, ["a", "b"]), test_share=0.001, validation_share=0.001)
    assert [warning.reason for warning in checked.warnings] == [
        "holds out none of the 2 groups",
        "validates by none of the 2 groups",
    ]


def test_shares_that_leave_too_little() -> None:
    with pytest.raises(ValidationError, match="together with test_share at most"):
        ImportOptions(test_share=0.5, validation_share=0.5)
    assert ImportOptions(test_share=0.5, validation_share=0.4).validation_share == 0.4


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("^(P", "is no regular expression"),
        (r"(a)\1", "is no regular expression"),
        ("^P", "has 0 groups"),
        ("(a)(b)", "has 2 groups"),
        ("((a{1000}){1000})", "is no regular expression"),
        ("(" + "a" * 200 + ")", "at most 200"),
    ],
)
def test_patterns_that_are_refused(pattern: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ImportOptions(group_pattern=pattern)


@pytest.mark.timeout(20)
def test_no_pattern_takes_for_ever(upload: Any) -> None:
    """Python's own engine needs 2^60 steps for this one."""
    names = ["a" * 60 + "!", "a"]
    checked = upload.check(members(upload, names), group_pattern="^((?:a+)+)$")
    assert [sample.facts.group for sample in checked.samples] == ["a", None]


def test_rows_are_numbered_with_those_held_out_at_the_end() -> None:
    rows = [{"name": name, "split": split} for name, split in (("b", None), ("a", "test"), ("c", "train"))]
    assert [(row["name"], row["ordinal"]) for row in numbered(rows)] == [("b", 0), ("c", 1), ("a", 2)]
