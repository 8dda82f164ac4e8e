"""What an upload says of its samples beside the files: `samples.csv`, a row for each sample that it knows something of.

Columns, in any order: `name`, and any of `group`, `split`, `annotator`, `verified`; an empty field says nothing.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from service.datasets.archive import Archive, Member, MemberFault
from service.datasets.checked import Facts, Findings
from workers.contract.tables import SPLITS, VALIDATION

FILE = "samples.csv"
COLUMNS = ("name", "group", "split", "annotator", "verified")
MAX_TEXT = 200  # characters of a group or an annotator
MAX_FAULTS = 100  # that are listed; then their number is
ALSO_VALIDATION = {"val", "valid", "dev"}
VERIFIED = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
SEPARATE = "columns are separated by commas: " + ",".join(COLUMNS)


class _Line(ValueError):
    """What is wrong with a line."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


@dataclass
class _Faults:
    """Faults by line, the first of them in full."""

    file: str
    found: Findings
    count: int = 0

    def add(self, line: int, reason: str, hint: str = "") -> None:
        self.count += 1
        if self.count <= MAX_FAULTS:
            self.found.refuse(self.file, f"line {line}: {reason}", hint)
        elif self.count == MAX_FAULTS + 1:
            self.found.refuse(self.file, "has more faults, which are not listed", "mend these first")


def read_facts(
    archive: Archive, member: Member, names: Mapping[str, Sequence[str]], scratch: Path, found: Findings
) -> dict[str, Facts]:
    """The facts by sample; whatever is wrong goes to `found`, line by line.

    Args:
        archive: the upload.
        member: its `samples.csv`.
        names: what a row may name, each with the samples that it stands for.
        scratch: a folder for what is unpacked.
        found: takes the faults.
    """
    faults = _Faults(member.path, found)
    try:
        archive.extract(member, scratch / "facts")
        with (scratch / "facts").open(encoding="utf-8-sig", newline="") as file:
            return _read(csv.reader(file, strict=True), names, faults)
    except MemberFault as fault:
        found.refuse(member.path, fault.reason, fault.hint)
    except UnicodeDecodeError:
        found.refuse(member.path, "is not UTF-8 text", "save it as CSV UTF-8")
    return {}


def _read(reader: Any, names: Mapping[str, Sequence[str]], faults: _Faults) -> dict[str, Facts]:
    read: dict[str, Facts] = {}
    lines: dict[str, int] = {}
    try:
        header = [column.strip() for column in next(reader, [])]
        if not _sound(header, faults):
            return {}
        for row in reader:
            if not any(row):
                continue
            try:
                name, facts = _facts(header, row)
                if name not in names:
                    raise _Line(f"there is no sample {name!r}", "name images as their files, without the ending")
                if name in lines:
                    raise _Line(f"names {name!r} again, as line {lines[name]} does", "keep one row for each sample")
            except _Line as fault:
                faults.add(reader.line_num, fault.reason, fault.hint)
                continue
            lines[name] = reader.line_num
            for sample in names[name]:
                # A row of the sample itself says more than one of an image that has several masks.
                first, second = (facts, read.get(sample, Facts())) if sample == name else (read.get(sample), facts)
                read[sample] = _joined(first or Facts(), second)
    except csv.Error as error:
        faults.add(reader.line_num, f"is no CSV: {error}", SEPARATE)
    return read


def _sound(header: list[str], faults: _Faults) -> bool:
    before = faults.count
    for column in sorted(set(header) - set(COLUMNS)):
        faults.add(1, f"has the column {column!r}, which means nothing here", SEPARATE)
    for column in sorted({column for column in header if header.count(column) > 1}):
        faults.add(1, f"has the column {column!r} twice", "keep one of them")
    if "name" not in header:
        faults.add(1, "has no column 'name'", "the first line names the columns; " + SEPARATE)
    return faults.count == before


def _facts(header: list[str], row: list[str]) -> tuple[str, Facts]:
    if len(row) != len(header):
        raise _Line(f"has {len(row)} fields, the first line {len(header)}", SEPARATE)
    given = {column: unicodedata.normalize("NFC", field.strip()) for column, field in zip(header, row, strict=True)}
    if not given["name"]:
        raise _Line("names no sample")
    for column in ("group", "annotator"):
        text = given.get(column, "")
        if len(text) > MAX_TEXT or not text.isprintable():
            raise _Line(f"has an impossible {column}", f"at most {MAX_TEXT} printable characters")
    split, verified = given.get("split", "").lower(), given.get("verified", "").lower()
    split = VALIDATION if split in ALSO_VALIDATION else split
    if split not in {"", *SPLITS}:
        raise _Line(f"has the split {given['split']!r}", f"{', '.join(SPLITS)} or empty")
    if verified and verified not in VERIFIED:
        raise _Line(f"has {given['verified']!r} as verified", "true, false or empty")
    facts = Facts(given.get("group") or None, split or None, given.get("annotator") or None, VERIFIED.get(verified))
    return given["name"], facts


def _joined(first: Facts, second: Facts) -> Facts:
    """What either knows; where both do, the first is right."""
    known = {name: value for name, value in vars(first).items() if value is not None}
    return replace(second, **known)
