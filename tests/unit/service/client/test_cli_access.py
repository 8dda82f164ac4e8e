"""`dale projects`, `dale keys`, `dale audit` and `dale whoami` against a real server."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from service.client import Client, Refused
from service.db.tables import DEFAULT_PROJECT

KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
Run = Callable[..., Result]


@pytest.fixture
def dale(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in [name for name in os.environ if name.startswith("DALE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("DALE_API_KEY", KEY)

    def run(*words: str) -> Result:
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, done.output
        return done

    return run


def found(pattern: str, done: Result) -> str:
    match = re.search(pattern, done.output)
    assert match, done.output
    return match[1]


def test_from_a_project_to_a_key_that_is_revoked(dale: Run, url: str) -> None:
    assert "admin in all projects, as the operator" in dale("whoami").output
    project = found(r"Project (prj-\w+)", dale("projects", "create", "skin"))
    assert "skin" in dale("projects", "list").output
    done = dale("keys", "create", "Ada", "--role", "admin", "--days", "30", "--project", project)
    key, secret = found(r"Key (key-\w+): admin in prj-\w+, until", done), found(r"once: (dale_\S+)", done)
    as_ada = ("--key", secret)
    assert f"Ada ({key}): admin in skin ({project}), until" in dale("whoami", *as_ada).output
    reader = json.loads(dale("keys", "create", "reader", "--json", *as_ada).output)
    assert (reader["role"], reader["project_id"], reader["created_by"]) == ("read", project, key)
    listed = dale("keys", "list", *as_ada).output
    assert key in listed and reader["id"] in listed and secret not in listed
    assert reader["id"] in dale("keys", "revoke", reader["id"], *as_ada).output
    assert "revoked" in dale("keys", "list", *as_ada).output
    trail = dale("audit", *as_ada).output
    assert "key.revoke" in trail and "role: read" in trail
    actions = [entry["action"] for entry in json.loads(dale("audit", "--by", key, "--json").output)]
    assert actions == ["key.revoke", "key.create"]
    with Client(url, reader["key"]) as closed, pytest.raises(Refused, match="revoked"):
        closed.me()


def test_the_operator_s_own_keys(dale: Run) -> None:
    key = found(r"Key (key-\w+): admin in all projects\.", dale("keys", "create", "next", "--operator"))
    assert key in dale("keys", "list", "--operator").output
    dale("keys", "revoke", key, "--operator")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("keys", "list"), "no project"),
        (("keys", "list", "--project", "prj-none"), "no project 'prj-none'"),
        (("keys", "list", "--operator", "--project", "prj-none"), "exclude"),
        (("keys", "create", "x", "--role", "owner"), "read, review, train, admin"),
        (("keys", "revoke", "key-none", "--operator"), "no key 'key-none'"),
        (("audit", "--action", "x"), "action"),
        (("audit", "--since", "yesterday"), "7d"),
        (("jobs", "--project", "prj-none"), "prj-none"),
        (("datasets", "--project", "prj-none"), "prj-none"),
        (("projects", "create", "default"), "already"),
    ],
)
def test_refusals_are_words_and_code_2(dale: Run, words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, list(words))
    assert (done.exit_code, said in done.stderr.replace("\n", " ")) == (2, True), done.output


def test_the_trail_of_some_days(dale: Run) -> None:
    dale("projects", "create", "skin")
    listed = json.loads(dale("audit", "--since", "1h", "--json").output)
    assert [entry["action"] for entry in listed] == ["project.create"]
    assert json.loads(dale("audit", "--until", "1h", "--json").output) == []
    at = listed[0]["at"]
    assert len(json.loads(dale("audit", "--since", at, "--json").output)) == 1
    assert json.loads(dale("audit", "--until", at, "--json").output) == []


def test_lists_of_one_project(dale: Run, add_dataset: Callable[..., str]) -> None:
    project = found(r"Project (prj-\w+)", dale("projects", "create", "skin"))
    dataset = add_dataset(2)
    assert [one["id"] for one in json.loads(dale("datasets", "--json").output)] == [dataset]
    assert json.loads(dale("datasets", "--project", project, "--json").output) == []
    assert [one["id"] for one in json.loads(dale("datasets", "--project", DEFAULT_PROJECT, "--json").output)] == [
        dataset
    ]
    assert json.loads(dale("jobs", "--project", project, "--json").output) == []
