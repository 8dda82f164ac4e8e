"""The compose file: of the right form, nothing in it is root, unpinned, unwatched or secret, and its commands exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema.validators import validator_for

ROOT = Path(__file__).parents[3]
# The Compose specification's own schema (github.com/compose-spec/compose-spec, Apache-2.0), of Docker Compose 5.6.1.
SCHEMA = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
SECRETS = {
    "DALE_API_KEY",
    "DALE_RAY_TOKEN",
    "DALE_S3_ACCESS_KEY",
    "DALE_S3_SECRET_KEY",
    "MINIO_ROOT_PASSWORD",
    "MINIO_ROOT_USER",
    "POSTGRES_PASSWORD",
    "RAY_AUTH_TOKEN",
}
REQUIRED = re.compile(r"\$\{(\w+):\?[^}]+\}")
OURS = {"dale-service:0.1.0", "dale-worker:0.1.0", "dale-worker:0.1.0-cuda"}


def services(compose: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from compose["services"].items()


def once(service: dict[str, Any]) -> bool:
    """Whether it does one thing and ends."""
    return bool(service.get("restart") == "no")


def test_it_follows_the_specification(compose: dict[str, Any]) -> None:
    validator = validator_for(SCHEMA)(SCHEMA)
    assert [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(compose)] == []
    assert not validator.is_valid({"services": {"api": {"image": "a", "helthcheck": {}}}}), "it finds what is misspelt"


def test_all_parts_are_there(compose: dict[str, Any]) -> None:
    assert {name for name, service in services(compose) if not once(service)} == {
        *("api", "reconciler", "postgres", "minio", "ray-head", "ray-worker", "ray-worker-gpu"),
        *("prometheus", "grafana"),
    }
    assert compose["services"]["ray-worker"]["profiles"] == ["cpu"]
    assert compose["services"]["ray-worker-gpu"]["profiles"] == ["gpu"]
    gpus = compose["services"]["ray-worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert gpus[0]["capabilities"] == ["gpu"]


def test_everything_that_stays_is_watched(compose: dict[str, Any]) -> None:
    for name, service in services(compose):
        if not once(service):
            assert service["healthcheck"]["test"][0] == "CMD", name
            assert service["restart"] == "unless-stopped", name


def test_nothing_runs_as_root(compose: dict[str, Any]) -> None:
    for name, service in services(compose):
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert not service.get("privileged"), name
        user, _, group = service["user"].partition(":")
        if user == "0":  # the one exception: gives new volumes to their users; without network, and ends at once
            assert (name, once(service), service["network_mode"], service["cap_add"]) == (
                *("volumes-setup", True, "none", ["CHOWN"]),
            )
        else:
            assert user.isdigit() and int(group) > 0, name


def test_images_are_pinned(compose: dict[str, Any]) -> None:
    for name, service in services(compose):
        image = service["image"]
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", image), f"{name}: {image}"
        assert image in OURS or not service.get("build"), name
    assert compose["services"]["minio"]["image"].startswith("quay.io/minio/minio:RELEASE.")


def test_secrets_come_from_outside_and_are_asked_for(compose: dict[str, Any]) -> None:
    seen = set()
    for name, service in services(compose):
        for variable, value in service.get("environment", {}).items():
            if variable in SECRETS:
                seen.add(variable)
                assert REQUIRED.fullmatch(str(value)), f"{name}: {variable} is {value!r}"
            elif "://" in str(value):
                assert not re.search(r"://[^/${]+:[^${@]+@", str(value)), f"{name}: a password in {variable}"
    assert seen == SECRETS
    url = compose["services"]["api"]["environment"]["DALE_DATABASE_URL"]
    assert REQUIRED.search(url)


def test_settings_exist(compose: dict[str, Any], known_variables: set[str]) -> None:
    for name, service in services(compose):
        used = {variable for variable in service.get("environment", {}) if variable.startswith("DALE_")}
        assert used <= known_variables, name


def test_ray_asks_for_a_token_and_workers_reach_the_store(compose: dict[str, Any]) -> None:
    for name in ("ray-head", "ray-worker", "ray-worker-gpu"):
        environment = compose["services"][name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token", name
        assert environment["RAY_AUTH_TOKEN"] == compose["services"]["api"]["environment"]["DALE_RAY_TOKEN"], name
        assert {"DALE_S3_ACCESS_KEY", "DALE_S3_SECRET_KEY"} <= environment.keys(), name
        assert not {"DALE_DATABASE_URL", "DALE_API_KEY"} & environment.keys(), name
    for name in ("api", "reconciler"):
        assert compose["services"][name]["environment"]["DALE_STORE_URL"].startswith("s3://"), name


def test_only_api_and_store_are_published_and_to_this_machine(compose: dict[str, Any]) -> None:
    published = {
        name: service["ports"]
        for name, service in services(compose)
        if "ports" in service and service.get("profiles") != ["monitoring"]
    }
    assert published.keys() == {"api", "minio"}
    for ports in published.values():
        assert all(port.startswith("${PUBLISH_ADDRESS:-127.0.0.1}:") for port in ports)


def test_monitoring_is_opt_in_without_passwords_and_never_leaves_this_machine(compose: dict[str, Any]) -> None:
    monitoring = {name: service for name, service in services(compose) if service.get("profiles") == ["monitoring"]}
    assert monitoring.keys() == {"prometheus", "grafana"}
    for name, service in monitoring.items():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
    for name, service in services(compose):
        if name not in monitoring:
            assert not monitoring.keys() & service.get("depends_on", {}).keys(), name
    grafana = monitoring["grafana"]["environment"]
    assert not [variable for variable in grafana if "PASSWORD" in variable]
    assert grafana["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert grafana["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_configs_are_files_that_are_there(compose: dict[str, Any]) -> None:
    # Compose refuses `content:` and `environment:` where the container is read-only.
    for name, config in compose["configs"].items():
        assert config.keys() == {"file"}, name
        assert (ROOT / config["file"]).is_file(), name
    policy = json.loads((ROOT / compose["configs"]["objects-policy"]["file"]).read_text())
    resources = {resource for statement in policy["Statement"] for resource in statement["Resource"]}
    assert resources == {"arn:aws:s3:::dale", "arn:aws:s3:::dale/*"}


def test_volumes_have_names(compose: dict[str, Any]) -> None:
    for name, service in services(compose):
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"], f"{name}: {volume}"


@pytest.mark.parametrize("name", ["api", "reconciler"])
def test_the_service_accepts_these_settings(
    compose: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.settings import Settings
    from workers.contract.store import open_store

    for variable, value in compose["services"][name]["environment"].items():
        filled = REQUIRED.sub("9f3Qm2Lr8Vx0Zk5Wc7Yd1uTb", str(value))
        filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", filled)
        monkeypatch.setenv(variable, filled)
    settings = Settings()
    assert settings.ray_address == "http://ray-head:8265"
    assert settings.worker_command == ("/opt/dale/bin/python", "-m", "workers.main")
    assert settings.database_url.startswith("postgresql://dale:9f3Q")
    assert settings.loopback is (name == "reconciler")
    open_store(settings.store_url)
