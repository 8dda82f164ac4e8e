"""The reader notices what a page gets wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks
from tests.docs.reader import Reader, commands

NOBODY = "http://127.0.0.1:9"
IDS = {"ds": "ds-0123456789abcdef", "job": "job-0123456789abcdef"}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with Reader(tmp_path, NOBODY, "key", IDS) as reader:
        yield reader


def sh(code: str) -> Block:
    return Block("page.md", 10, "sh", code, "")


def test_one_command_that_fails_is_named(reader: Reader) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:11: exit code 3\n\(exit 3\)\n"):
        reader.follow(sh("true\n(exit 3)\ntrue"))


def test_an_option_that_there_is_not_and_a_service_that_is_away(reader: Reader) -> None:
    with pytest.raises(AssertionError, match="No such option"):
        reader.follow(sh("dale samples job-… --wurst 20"))
    with pytest.raises(AssertionError, match="exit code 3"):  # no service at that address
        reader.follow(sh("dale samples job-… --worst 20"))
    with pytest.raises(AssertionError, match="exit code 7"):  # curl's own
        reader.follow(sh('curl -s "$DALE/healthz"'))


def test_python_that_fails(reader: Reader) -> None:
    reader.follow(Block("page.md", 1, "python", "import dale", ""))
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        reader.follow(Block("page.md", 1, "python", "1 / 0", ""))


def test_the_shell_is_one_and_the_ids_are_those_printed(reader: Reader) -> None:
    reader.follow(sh("export TOLD=before\ntest $TOLD = before"))
    reader.follow(sh("echo dale upload prints ds-fedcba9876543210\ntest ds-… = ds-fedcba9876543210"))
    assert reader.do("echo job-…") == (f"{IDS['job']}\n\n", 0)
    with pytest.raises(AssertionError, match="nothing was made yet"):
        reader.do("dale keys revoke key-…")


def test_commands_are_whole() -> None:
    code = "# a remark\none \\\n  more\n\n(two\n  two)\nthree '{\n}'"
    assert list(commands(sh(code))) == [(11, "one \\\n  more"), (14, "(two\n  two)"), (16, "three '{\n}'")]


def test_marks_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.blocks.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n<!-- not run: too long -->\n```sh\nsleep 9\n```\n\n```text\nseen\n```\n")
    assert list(blocks(page)) == [
        Block("page.md", 5, "sh", "sleep 9", "too long"),
        Block("page.md", 9, "text", "seen", ""),
    ]
