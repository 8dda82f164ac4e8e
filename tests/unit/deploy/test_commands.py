"""Every command that images, compose file, manifests and guide name is one that there is."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from fastapi.testclient import TestClient

from service.cli import app as commands
from service.settings import Settings

ROOT = Path(__file__).parents[3]
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what a container listens on
GUIDE = (ROOT / "docs/cluster.md").read_text()
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)).replace("\\\n", " ")


def check(command: Sequence[str], ray_options: set[str]) -> None:
    """Fail if a command names a module, a file or an option that is not there."""
    program, *rest = command
    if program.endswith("python"):
        if rest[0] == "-m":
            assert importlib.util.find_spec(rest[1]) is not None, command
        elif rest[0] == "-c":
            check_code(rest[1])
        else:
            assert rest[0] == "/opt/dale/serve_api.py", command
            assert (
                "COPY deploy/serve_api.py /opt/dale/serve_api.py\n" in (ROOT / "deploy/service.Dockerfile").read_text()
            )
    elif program == "ray":
        if rest[0] == "start":
            used = {word.partition("=")[0] for word in rest[1:]}
            assert used <= ray_options, used - ray_options
        else:
            assert rest == ["status"]
    else:
        assert program in {"server", "pg_isready", "mc", "chown", "wget"}, command


def check_code(code: str) -> None:
    """Fail if a line of Python is wrong, or imports what is not there."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


def test_commands_of_the_compose_file(compose: dict[str, Any], ray_options: set[str]) -> None:
    checked = 0
    for name, service in compose["services"].items():
        if "entrypoint" not in service and "command" in service:
            check(service["command"], ray_options)
            checked += 1
        if "healthcheck" in service:
            check(service["healthcheck"]["test"][1:], ray_options)
            checked += 1
        for needed in service.get("depends_on", {}):
            assert needed in compose["services"], name
    assert checked >= 12


def test_the_setup_of_the_store_is_a_shell_script(compose: dict[str, Any]) -> None:
    (script,) = compose["services"]["minio-setup"]["command"]
    assert "$$DALE_S3_ACCESS_KEY" in script
    subprocess.run(["sh", "-n"], input=script.replace("$$", "$"), text=True, check=True)


def test_prometheus_gets_the_key_in_a_file_of_its_own(compose: dict[str, Any], tmp_path: Path) -> None:
    (script,) = compose["services"]["prometheus"]["command"]
    first, second = script.splitlines()
    assert second.startswith("exec /bin/prometheus ")
    key = tmp_path / "key"
    command = first.replace("$$", "$").replace("/tmp/dale-key", str(key))  # noqa: S108 - a path in the container
    subprocess.run(["sh", "-euc", command], env={"DALE_API_KEY": "a key"}, check=True)
    assert (key.read_text(), stat.S_IMODE(key.stat().st_mode)) == ("a key", 0o600)


def test_commands_of_the_manifests(manifests: list[dict[str, Any]], ray_options: set[str]) -> None:
    for found in manifests:
        if found["kind"] in {"Deployment", "Job"}:
            pod = found["spec"]["template"]["spec"]
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                check(container["command"], set())
                probe = container.get("readinessProbe", {})
                if "exec" in probe:
                    check(probe["exec"]["command"], set())
        if found["kind"] == "RayCluster":
            for group in (found["spec"]["headGroupSpec"], *found["spec"]["workerGroupSpecs"]):
                assert {f"--{name}" for name in group["rayStartParams"]} <= ray_options


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_images_are_pinned_run_without_root_and_copy_what_there_is(path: Path, ray_options: set[str]) -> None:
    lines = path.read_text().replace("\\\n", " ").splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert bases and all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 1000:1000"]
    ignored = path.with_name(f"{path.name}.dockerignore").read_text().splitlines()
    assert ignored[1] == "*", "only what is named reaches the builder"
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), line
                assert f"!{source}" in ignored, line
    (command,) = [line.removeprefix("CMD ") for line in lines if line.startswith("CMD ")]
    check(ast.literal_eval(command), ray_options)


def test_the_service_image_has_no_torch_and_the_worker_image_a_choice() -> None:
    service, worker = ((ROOT / f"deploy/{name}.Dockerfile").read_text() for name in ("service", "worker"))
    assert "'.[service,postgres,tracing]'" in service and "[train]" not in service
    assert "'.[train]'" in worker and "ARG PIP_EXTRA_INDEX_URL" in worker


def test_scripts_are_whole() -> None:
    script = ROOT / "deploy/try-cluster"
    assert script.stat().st_mode & stat.S_IXUSR
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 and "--nodes" in done.stdout, done.stderr
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL):
        subprocess.run(["bash", "-n"], input=re.sub(r"<this repository>", "url", block), text=True, check=True)


def test_the_guide_names_only_what_there_is(known_variables: set[str], ray_options: set[str]) -> None:
    starts = re.findall(r"^ray start .*$", SHELL, re.MULTILINE)
    assert len(starts) >= 3
    for line in starts:
        check(shlex.split(line, comments=True), ray_options)
    known = typer.main.get_command(commands).commands  # type: ignore[attr-defined]
    for name, rest in re.findall(r"^dale (\w+)(.*?)(?:\||#|$)", SHELL, re.MULTILINE):
        offered = {option for parameter in known[name].params for option in parameter.opts}
        assert {word for word in shlex.split(rest) if word.startswith("--")} <= offered, name
    for module in re.findall(r"python -m ([\w.]+)", GUIDE):
        assert importlib.util.find_spec(module) is not None, module
    # Those of Compose's own file of secrets are checked against the compose file.
    compose = (ROOT / "docker-compose.yml").read_text()
    for variable in set(re.findall(r"\b((?:DALE|POSTGRES|MINIO|STORE|PUBLISH)_[A-Z0-9_]*[A-Z0-9])\b", GUIDE)):
        assert variable in known_variables or f"${{{variable}:" in compose, variable
    for path in re.findall(r"`?\b(deploy/[\w./-]*\w)", GUIDE):
        assert (ROOT / path).exists() or path == "deploy/.env", path


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "docs/cluster.md", ROOT / "deploy/README.md"):
        for target in re.findall(r"\]\(([^)#]+)?(?:#[\w-]+)?\)", page.read_text()):
            if target and "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
    headings = {
        re.sub(r"[^\w -]", "", line[3:]).lower().replace(" ", "-") for line in GUIDE.splitlines() if line[:3] == "## "
    }
    anchors = re.findall(r"(?:\(|cluster\.md)#([\w-]+)", GUIDE + (ROOT / "deploy/README.md").read_text())
    assert anchors and set(anchors) <= headings


@pytest.fixture(scope="module")
def serve_api() -> ModuleType:
    spec = importlib.util.spec_from_file_location("serve_api", ROOT / "deploy/serve_api.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_api_alone_lets_in_who_has_the_key(serve_api: ModuleType, tmp_path: Path) -> None:
    key = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
    settings = Settings(data_dir=tmp_path, ray_address="http://127.0.0.1:1", host=EVERYWHERE, api_key=key)
    with TestClient(serve_api.build(settings)) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/jobs").status_code == 401
        assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).json()["jobs"] == []


@pytest.mark.parametrize(
    ("wrong", "said"), [({"ray_address": ""}, "DALE_RAY_ADDRESS"), ({"host": EVERYWHERE}, "without a key")]
)
def test_the_api_alone_refuses_what_cannot_be_meant(
    serve_api: ModuleType, tmp_path: Path, wrong: dict[str, str], said: str
) -> None:
    settings = Settings(**{"data_dir": tmp_path, "ray_address": "http://127.0.0.1:1", **wrong})  # type: ignore[arg-type]
    with pytest.raises(SystemExit, match=said):
        serve_api.build(settings)
