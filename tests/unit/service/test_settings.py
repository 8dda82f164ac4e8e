from __future__ import annotations

import importlib.util
import secrets
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings, weakness


def test_the_default_is_embedded_and_only_for_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.loopback
    assert settings.data_dir == tmp_path / "dale-data"
    assert settings.database_url == f"sqlite:///{tmp_path}/dale-data/dale.db"
    assert settings.store_url == (tmp_path / "dale-data" / "objects").as_uri()
    assert settings.ray_address == ""
    assert settings.cpus >= 2
    assert settings.network_check == (importlib.util.find_spec("torch") is not None)


def test_the_environment_sets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DALE_DATA_DIR", str(tmp_path / "with space"))
    monkeypatch.setenv("DALE_WORKER_COMMAND", "python -m 'my workers'")
    monkeypatch.setenv("DALE_HOST", "192.168.1.4")
    settings = Settings()
    assert settings.worker_command == ("python", "-m", "my workers")
    assert settings.store_url.endswith("/with%20space/objects")
    assert not settings.loopback


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - the very case
        ("::", False),
        ("192.168.1.4", False),
        ("example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert Settings(host=host).loopback is loopback


@pytest.mark.parametrize(
    "key",
    [
        "changeme-changeme-changeme-1",
        "short-but-9Rx",
        "a" * 40,
        "my-Secret-key-92hf83hf02hf",
        "your-api-key-here-0123456",
    ],
)
def test_placeholders_are_no_keys(key: str) -> None:
    with pytest.raises(ValidationError, match="DALE_API_KEY") as refusal:
        Settings(api_key=key)
    assert "openssl" in str(refusal.value)


def test_random_keys_are_keys() -> None:
    assert [weakness(secrets.token_urlsafe(32)) for _ in range(200)] == [""] * 200


def test_secrets_do_not_show() -> None:
    key = "dale_7hGf2Kq9Lm4Zx8Vb1Nc6Ty3"
    assert key not in repr(Settings(api_key=key, ray_token=key))
