"""Everything that can be configured, read once from the environment (prefix `DALE_`)."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.datasets.limits import ImportLimits
from service.predictions.limits import PredictionLimits

# Fragments of values that people copy from examples. Such a secret is worse than none: it looks like one.
PLACEHOLDERS = ("change", "placeholder", "example", "secret", "password", "your-", "your_", "12345")
MIN_KEY_LENGTH = 24


class Settings(BaseSettings):
    """How this service runs; the defaults are the embedded service in one data folder."""

    model_config = SettingsConfigDict(env_prefix="DALE_", extra="ignore", validate_default=True)

    data_dir: Path = Field(default=Path("dale-data"), description="folder of everything that the service keeps")
    database_url: str = Field(default="", description="SQLAlchemy URL; empty: SQLite in data_dir")
    store_url: str = Field(default="", description="file:// or s3:// URL; empty: data_dir/objects")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="0 picks a free port")
    api_key: SecretStr | None = Field(default=None, description="a key that opens the API; empty: one is made")
    requests_per_minute: int = Field(
        default=1200, ge=0, description="for each key, and as many at once after a pause; 0: no limit"
    )
    attempts_per_minute: int = Field(
        default=30, ge=0, description="with a wrong key, and without one, for each client address; 0: no limit"
    )
    trusted_proxies: str = Field(
        default="",
        description="addresses or networks, by commas, whose X-Forwarded-For and -Proto are believed; empty: nobody's",
    )
    max_body_bytes: int = Field(default=1 << 20, ge=1024, description="largest JSON body")
    max_upload_bytes: int = Field(default=4 << 30, ge=1024, description="largest dataset upload in one piece")
    import_limits: ImportLimits = Field(
        default=ImportLimits(), description="what an upload may contain, as JSON: see service.datasets.limits"
    )
    predictions: PredictionLimits = Field(
        default=PredictionLimits(), description="how much is predicted, as JSON: see service.predictions.limits"
    )

    ray_address: str = Field(default="", description="Jobs REST URL of a Ray cluster; empty: an own head is started")
    ray_token: SecretStr | None = Field(default=None, description="token of that cluster, if it asks for one")
    ray_cpus: int | None = Field(default=None, ge=1, description="CPUs of the own head; empty: those of this machine")
    ray_object_store_bytes: int = Field(default=200 << 20, ge=80 << 20, description="shared memory of the own head")

    worker_command: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="what Ray runs for a job; empty: workers.main, by this Python or the cluster's own"
    )
    network_check: bool | None = Field(
        default=None,
        description="build a posted network before accepting the job; empty: where torch is installed",
    )
    reconcile_seconds: float = Field(default=1.0, gt=0, le=60, description="pause between looks at the jobs")
    job_stop_seconds: int = Field(default=2, ge=0, le=600, description="time a cancelled run has to end by itself")
    metrics_open: bool = Field(default=False, description="whether /metrics answers without a key")
    metrics_listen: str = Field(
        default="", description="host:port where a reconciler by itself answers /metrics; empty: it listens to nothing"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("worker_command", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    @field_validator("api_key", "ray_token", mode="after")
    @classmethod
    def _empty_is_unset(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value is not None and value.get_secret_value() else None

    @field_validator("api_key", mode="after")
    @classmethod
    def _real_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (reason := weakness(value.get_secret_value())):
            raise ValueError(f"DALE_API_KEY {reason}; make one with: openssl rand -base64 32")
        return value

    @field_validator("metrics_listen", mode="after")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"DALE_METRICS_LISTEN must be host:port, for example 127.0.0.1:9464, not {value!r}")
        return value

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _networks(cls, value: str) -> str:
        for one in filter(None, (part.strip() for part in value.split(","))):
            try:
                ipaddress.ip_network(one)
            except ValueError as error:
                raise ValueError(
                    f"DALE_TRUSTED_PROXIES names addresses or networks such as 10.0.0.7,10.1.0.0/16: {error}"
                ) from None
        return value

    @model_validator(mode="after")
    def _fill_in(self) -> Settings:
        self.data_dir = self.data_dir.expanduser().resolve()
        self.database_url = self.database_url or f"sqlite:///{self.data_dir / 'dale.db'}"
        self.store_url = self.store_url or (self.data_dir / "objects").as_uri()
        if not self.worker_command:
            self.worker_command = ("python" if self.ray_address else sys.executable, "-m", "workers.main")
        if self.network_check is None:
            self.network_check = importlib.util.find_spec("torch") is not None
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of `metrics_listen`, None where it is empty."""
        host, _, port = self.metrics_listen.rpartition(":")
        return (host.strip("[]"), int(port)) if host else None

    @property
    def cpus(self) -> int:
        """CPUs that the own Ray head offers: two at least, so that two workers start on any machine."""
        return self.ray_cpus or max(2, os.cpu_count() or 1)


def weakness(key: str) -> str:
    """Why a key is no real secret, in words that follow its name; empty if it is one."""
    if found := next((word for word in PLACEHOLDERS if word in key.lower()), None):
        return f"looks like a placeholder (contains {found!r})"
    if len(key) < MIN_KEY_LENGTH:
        return f"has {len(key)} characters, {MIN_KEY_LENGTH} are needed"
    if len(set(key)) < MIN_KEY_LENGTH // 3:
        return "repeats too few different characters"
    return ""
