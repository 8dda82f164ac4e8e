"""How `deploy/try-cluster` reads the compose file: as Compose does, and no variable of it may be read by nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.trial import cluster, readers
from deploy.trial.composed import FileError, Interpolation, Service, image_environment, read
from deploy.trial.places import NOT_RUN, PLACES, UNREAD, Places, env_file
from deploy.trial.running import Trial

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docker-compose.yml"


def services(file: Path = FILE) -> dict[str, Service]:
    return {one.name: one for one in read(file, Interpolation(env_file()), {"cpu"})[0]}


# The forms and their meaning are those of docs.docker.com/reference/compose-file/interpolation.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a ${SET} b", "a value b"),
        ("$SET.", "value."),
        ("${SET:-other}", "value"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY-other}", ""),
        ("${UNSET-other}", "other"),
        ("${UNSET:-http://127.0.0.1:9000}", "http://127.0.0.1:9000"),
        ("${UNSET:-}", ""),
        ("${UNSET}", ""),
        ("${SET:?is needed}", "value"),
        ("$$SET and $${SET}", "$SET and ${SET}"),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, expected: str) -> None:
    assert Interpolation({"SET": "value", "EMPTY": ""}).fill({"a": [text]}, "api") == {"a": [expected]}


@pytest.mark.parametrize("text", ["${EMPTY:?make one}", "${UNSET:?make one}", "${UNSET?make one}"])
def test_what_is_required_is_asked_for(text: str) -> None:
    with pytest.raises(FileError, match=r"api\.environment\.KEY: .* is not set: make one"):
        Interpolation({"EMPTY": ""}).fill({"environment": {"KEY": text}}, "api")


def test_a_single_dollar_is_a_mistake() -> None:
    with pytest.raises(FileError, match=r"write \$\$"):
        Interpolation({}).fill("costs 5 $", "api")


def test_services_come_after_what_they_need() -> None:
    found = services()
    order = list(found)
    for one in found.values():
        assert all(order.index(needed) < order.index(one.name) for needed in one.needs), one.name
    assert found["ray-worker"].replicas == 2
    assert found["api"].health_timeout == 10


def test_the_file_of_the_guide_is_the_one_that_is_made() -> None:
    (block,) = re.findall(r"```sh\n(\(umask.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    names = {name for name in re.findall(r"\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b", block) if name != "TORCH_CPU_INDEX_URL"}
    assert env_file().keys() - names == {"RAY_WORKER_CPUS"}
    assert names <= env_file().keys()


def test_images_bring_variables_along() -> None:
    found = image_environment(ROOT / "deploy/worker.Dockerfile")
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["PATH"] == "/opt/dale/bin:$PATH"
    assert "PIP_EXTRA_INDEX_URL" not in found, "that is of an earlier stage"


def test_everything_that_the_file_sets_is_read() -> None:
    for one in services().values():
        if one.name not in cluster.STAND_INS:
            readers.check(one)
    said = {name for one in services().values() for name in one.environment}
    in_images = {name for path in (ROOT / "deploy").glob("*.Dockerfile") for name in image_environment(path)}
    assert UNREAD.keys() <= said | in_images


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("DALE_DATABASE_URL:", "DALE_DATABSE_URL:"),
        ("DALE_METRICS_LISTEN:", "DALE_METRICS_LISTENS:"),
        ("TMPDIR:", "TMPDRI:"),
        ("RAY_AUTH_TOKEN:", "RAY_AUTH_TOKN:"),
        ("RAY_worker_niceness:", "RAY_worker_nicenes:"),
        ("GLOO_SOCKET_IFNAME:", "GLOO_SOCKET_IFNAMES:"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT:", "OTEL_EXPORTER_ENDPOINT:"),
    ],
)
def test_a_misspelt_variable_is_found_before_anything_starts(tmp_path: Path, name: str, wrong: str) -> None:
    with pytest.raises(FileError, match=f"nothing reads {wrong[:-1]}"):
        cluster.prepare(changed(tmp_path, name, wrong), Trial(tmp_path), None, {})


def test_a_value_that_nobody_asks_for_is_found(tmp_path: Path) -> None:
    file = changed(tmp_path, "${RAY_WORKER_CPUS:-2}", "2")
    file.write_text(file.read_text().replace("${RAY_WORKER_CPUS:-8}", "8"))
    with pytest.raises(FileError, match="asks for no RAY_WORKER_CPUS"):
        cluster.prepare(file, Trial(tmp_path), None, {})


def test_a_variable_that_a_stand_in_does_not_read_is_found() -> None:
    given = readers.Taken(services()["postgres"])
    assert given["POSTGRES_USER"] == "dale"
    with pytest.raises(FileError, match="nothing reads POSTGRES_DB, POSTGRES_PASSWORD"):
        given.check()
    with pytest.raises(FileError, match="POSTGRES_USR is missing"):
        given["POSTGRES_USR"]


def test_places_are_put_in_once_and_all_are_met(tmp_path: Path) -> None:
    places = Places(tmp_path)
    own = {"tmp": tmp_path, "agent": 1}
    for one in services().values():
        for text in (*one.command, *one.health, *(f"{name}={value}" for name, value in one.environment.items())):
            places.here(text, own)
        for name, value in (image_environment(one.dockerfile) if one.dockerfile else {}).items():
            places.here(f"{name}={value}", own)
    assert places.met == PLACES.keys()
    assert places.here("DALE_STORE_URL=s3://dale?endpoint=http://minio:9000", own).endswith(f":{places.ports['s3']}")
    # What was put in is not looked at again.
    places.ports["s3"] = 8000
    assert places.here("minio:9000", own) == "127.0.0.1:8000"


def test_what_is_not_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.prepare(FILE, Trial(tmp_path), None, {})
    told = capsys.readouterr().out
    said = re.findall(r"not run here: ([\w-]+):", told)
    assert set(said) == NOT_RUN.keys()
    for name in UNREAD.keys() & {name for one in services().values() for name in one.environment}:
        assert f"not read here: {name}: " in told


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """The file with one thing changed, in a folder that looks like the repository."""
    text = FILE.read_text()
    assert old in text
    folder = tmp_path / "changed"
    folder.mkdir()
    (folder / "deploy").symlink_to(ROOT / "deploy")
    (folder / FILE.name).write_text(text.replace(old, new))
    return folder / FILE.name
