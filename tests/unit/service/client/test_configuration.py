"""Where the commands' options come from, what the shell completes, and what scripts can trust."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from service.cli import app, credentials, terminal
from tests.unit.service.client.conftest import KEY

GUIDE = (Path(__file__).parents[4] / "docs/commands.md").read_text()
CODES = {
    terminal.OK,
    terminal.JOB_FAILED,
    terminal.REFUSED,
    terminal.UNREACHABLE,
    terminal.DIFFERS,
    terminal.INTERRUPTED,
}


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home and a folder that nobody has configured."""
    for name in [name for name in os.environ if name.startswith("DALE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "home/dale").mkdir(parents=True)
    (tmp_path / "work/below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work/below")
    return tmp_path


@pytest.fixture
def own(place: Path) -> Path:
    return place / "home/dale/config.toml"


@pytest.fixture
def here(place: Path) -> Path:
    return place / "work/dale.toml"


def dale(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def test_flags_win_over_the_environment_that_over_this_folder_that_over_the_home(
    url: str, add_dataset: Callable[..., str], own: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = add_dataset(8)
    own.write_text(f'url = "{url}"\n[train]\nepochs = 11\nbatch-size = 3\nseed = 5\nworkers = 2\n')
    here.write_text("[train]\nepochs = 12\nseed = 6\nworkers = 2\n")
    monkeypatch.setenv("DALE_API_KEY", KEY)
    monkeypatch.setenv("DALE_TRAIN_SEED", "7")
    monkeypatch.setenv("DALE_TRAIN_WORKERS", "2")
    done = dale("train", dataset, "--dry-run", "--json", "--workers", "1")
    assert done.exit_code == 0, done.output
    spec = json.loads(done.stdout)["spec"]
    assert (spec["batch_size"], spec["epochs"], spec["seed"], spec["workers"]) == (3, 12, 7, 1)


def test_options_are_named_as_on_the_command_line_also_below_groups(
    url: str, own: Path, finished_job: str, tmp_path: Path
) -> None:
    own.write_text(f'url = "{url}"\n[export]\nformat = "jsonl"\n[keys.create]\nrole = "review"\ndays = 3\n')
    credentials.save(credentials.Target(url, KEY))
    out = tmp_path / "out"
    done = dale("export", finished_job, "--out", str(out))
    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text().splitlines()[0])["sample"]
    project = json.loads(dale("projects", "list", "--json").stdout)[0]["id"]
    made = json.loads(dale("keys", "create", "x", "--project", project, "--json").stdout)
    assert made["role"] == "review" and made["expires_at"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nepoch = 3\n", r"dale\.toml: train\.epoch: there is no such option; there are .*epochs"),
        ("[trian]\nepochs = 3\n", r"dale\.toml: \[trian\]: there is no such command"),
        ("[train.epochs]\nx = 3\n", r"\[train\.epochs\]: there is no such command"),
        ("url = 'http://elsewhere'\n", r"dale\.toml: url: not taken from here; say it in .*config\.toml"),
        ("[jobs]\nurl = 'http://elsewhere'\n", r"jobs\.url: not taken from here"),
        ("[delete]\nyes = true\n", r"delete\.yes: not taken from here"),
        ("[jobs]\nkey = 'dale_secret'\n", r"jobs\.key: not taken from here; keep it with: dale login"),
        ("epochs = \n", r"dale\.toml cannot be read"),
        ("[models.stage]\njson = true\n", r"\[models\.stage\]: there is no such command"),
        ("[models]\nstage = 'production'\n", r"models\.stage: there is no such option; there are .*limit"),
        ("install-completion = true\n", "there is no such option; there are none"),
    ],
)
def test_what_a_file_may_not_say_is_named(here: Path, text: str, said: str) -> None:
    here.write_text(text)
    done = dale("jobs")
    assert done.exit_code == terminal.REFUSED
    assert re.search(said, done.stderr), done.stderr
    assert "dale_secret" not in done.stderr


def test_the_example_of_the_guide_is_taken(own: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    own.write_text(example.replace(":8000", ":1"))
    assert dale("jobs").exit_code == terminal.UNREACHABLE
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", GUIDE, re.MULTILINE)}
    assert codes == CODES


def test_values_of_files_are_checked_as_those_of_flags(here: Path) -> None:
    here.write_text('[jobs]\nlimit = "many"\n')
    done = dale("jobs")
    assert done.exit_code == terminal.REFUSED and "'--limit'" in done.stderr


def test_a_kept_key_goes_only_where_it_is_for(url: str, own: Path) -> None:
    credentials.save(credentials.Target("http://another.example", KEY))
    own.write_text(f'url = "{url}"\n')
    done = dale("jobs")
    assert done.exit_code == terminal.REFUSED and "401" in done.stderr


def test_everything_that_prints_prints_json() -> None:
    without = {
        "serve": "runs",
        "demo": "runs",
        "login": "prints a line",
        "delete": "prints a line",
        "delete-dataset": "prints a line",
        "keys revoke": "prints a line",
        "cross-validations delete": "prints a line",
        "uploads discard": "prints a line",
        "fetch": "prints the paths of files",
        "fetch-predictions": "prints the paths of files",
        "file": "prints the path of a file",
        "map": "prints the path of a file",
        "predict": "prints the paths of files",
        "export": "prints the path of a file",
        "models card": "is Markdown",
        "models lineage": "is JSON",
        "environment": "is JSON",
        "schema": "is JSON",
    }
    found = dict(commands(typer.main.get_command(app)))
    missing = {
        name for name, command in found.items() if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert missing == without.keys()
    assert all(command.help for command in found.values())


def test_exit_codes_are_said_and_kept(url: str, finished_job: str, place: Path) -> None:
    said = " ".join(dale("--help").stdout.split())
    codes = dict(re.findall(r"(\d+) ([\w ,]+)", said.partition("Exit codes: ")[2]))
    assert set(map(int, codes)) == CODES
    known = ("--url", url, "--key", KEY)
    assert dale("jobs", *known).exit_code == terminal.OK
    assert dale("jobs", "--nonsense").exit_code == terminal.REFUSED
    assert dale("nonsense").exit_code == terminal.REFUSED
    assert dale("job", "job-none", *known).exit_code == terminal.REFUSED
    assert dale("jobs", "--url", url, "--key", "wrong").exit_code == terminal.REFUSED
    assert dale("jobs", "--url", "http://127.0.0.1:1").exit_code == terminal.UNREACHABLE
    assert CliRunner().invoke(app, ["delete", finished_job, *known], input="n\n").exit_code == terminal.JOB_FAILED


def test_the_version_is_said() -> None:
    assert dale("--version").stdout.strip() == version("dale-service")


def test_interrupted_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("service.cli.credentials.choose", stop)
    assert dale("jobs").exit_code == terminal.INTERRUPTED


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_is_told_how_to_complete(shell: str) -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "service.cli", "--show-completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 0 and "complete" in done.stdout, done.stderr


def completed(line: str) -> str:
    environment = {"_DALE_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
    return CliRunner().invoke(app, [], prog_name="dale", env=environment).stdout


def test_commands_options_and_ids_complete(url: str, finished_job: str, own: Path) -> None:
    own.write_text(f'url = "{url}"\n')
    credentials.save(credentials.Target(url, KEY))
    assert '"samples"' in completed("dale sam") and '"jobs"' not in completed("dale sam")
    assert '"--epochs"' in completed("dale train --ep")
    assert f'"{finished_job}"' in completed("dale job ") and "succeeded" in completed("dale job ")
    assert finished_job not in completed("dale job nothing-like-it")
    assert f'"{finished_job}"' in completed("dale models show job-p")
    assert '"ds-pages"' in completed("dale dataset ds-")


def test_where_nobody_answers_nothing_is_completed(own: Path, here: Path) -> None:
    own.write_text('url = "http://127.0.0.1:1"\n')
    assert completed("dale job ").strip() in {"", "_files"}
    own.write_text("nonsense")
    assert "nonsense" not in completed("dale job ")
