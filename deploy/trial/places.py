"""Everything in which a trial differs from what the compose file says. There is nothing else.

Four tables: places that are elsewhere on this machine, what a container has for itself, variables that nothing here
reads, and parts that are not run.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# In the file -> here. Looked for in every command and health check, and in every variable as NAME=value.
PLACES = {
    # addresses of services, and of services seen from within
    "postgres:5432": "127.0.0.1:{postgres}",
    "minio:9000": "127.0.0.1:{s3}",
    "127.0.0.1:9000": "127.0.0.1:{s3}",
    "127.0.0.1:8000": "127.0.0.1:{api}",
    "DALE_HOST=0.0.0.0": "DALE_HOST=127.0.0.1",
    "DALE_PORT=8000": "DALE_PORT={api}",
    "0.0.0.0:9464": "127.0.0.1:{metrics}",
    "ray-head:6379": "127.0.0.2:{gcs}",
    "ray-head:8265": "127.0.0.2:{jobs}",
    "--port=6379": "--port={gcs}",
    # Not 127.0.0.1: Ray replaces it by the machine's address, which the whole network can reach.
    "--dashboard-host=0.0.0.0": "--dashboard-host=127.0.0.2",
    "--dashboard-port=8265": "--dashboard-port={jobs}",
    "127.0.0.1:8265": "127.0.0.2:{jobs}",
    "127.0.0.1:52365": "127.0.0.1:{agent}",
    "=eth0": "=lo",
    # paths in the images and volumes
    "/opt/dale/serve_api.py": f"{ROOT}/deploy/serve_api.py",
    "/opt/dale/bin": str(Path(sys.executable).parent),
    "HOME=/tmp": "HOME={tmp}",
    "/uploads": "{folder}/uploads",
    "/objects": "{folder}/objects",
    "1000:1000": f"{os.geteuid()}:{os.getegid()}",  # nobody but root can run as another user
}

# What each container has for itself: a network with its own ports, and a /tmp.
OWN_ARGUMENTS = {
    "ray-head": (
        "--node-ip-address=127.0.0.2",
        "--temp-dir={folder}/r",
        "--ray-client-server-port={client}",
        "--dashboard-agent-listen-port={agent}",
    ),
    "ray-worker": (
        "--node-ip-address=127.0.0.{host}",
        "--temp-dir={folder}/r{number}",
        "--dashboard-agent-listen-port={agent}",
    ),
}
OWN_VARIABLES = {
    "PYTHONPATH": str(ROOT),  # the image has our packages installed
    "TMPDIR": "{tmp}",
    "PGHOST": "127.0.0.1",
    "PGPORT": "{postgres}",
    "OMP_NUM_THREADS": "1",  # several nodes share this machine's cores
}

# Handed on, and read by nothing that runs here.
UNREAD = {
    "NCCL_SOCKET_IFNAME": "read by NCCL, where there are GPUs",
    "NCCL_DEBUG": "read by NCCL, where there are GPUs",
    "MINIO_BROWSER": "read by MinIO",
    "HOME": "read by mc",
    "MC_CONFIG_DIR": "read by mc",
    "PYTHONDONTWRITEBYTECODE": "read by Python itself",
    "PYTHONUNBUFFERED": "read by Python itself",
    "PATH": "read by whoever starts a program",
}

NOT_RUN = {
    "postgres": "the image; PostgreSQL of this machine runs with its variables, and its health check is run",
    "minio": "the image, its command and `mc ready`; another S3 server runs with its variables",
    "minio-setup": "mc; bucket, user and policy are made with that server's own tools, from the same values",
    "ray-worker-gpu": "there are no GPUs to count on",
    "prometheus": "a profile of its own, and no program of this machine",
    "grafana": "a profile of its own, and no program of this machine",
}
NOT_LOOKED_AT = "images, users, capabilities, read-only file systems, limits, tmpfs, published ports, restarts"


def env_file() -> dict[str, str]:
    """What `deploy/.env` would say: the secrets of docs/cluster.md, and one CPU for each Ray worker."""
    names = ("DALE_API_KEY", "DALE_RAY_TOKEN", "POSTGRES_PASSWORD", "MINIO_ROOT_PASSWORD", "DALE_S3_SECRET_KEY")
    made = {name: secrets.token_hex(20) for name in names}
    # So that every worker of the job needs a node of its own.
    return {**made, "MINIO_ROOT_USER": "dale-root", "DALE_S3_ACCESS_KEY": "dale-service", "RAY_WORKER_CPUS": "1"}


@dataclass
class Places:
    """The first table with this trial's ports and folders filled in.

    Attributes:
        folder: everything that the trial writes.
        ports: of each service.
        met: entries of `PLACES` that were found in the file.
    """

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)
    _search: re.Pattern[str] = re.compile("|".join(sorted(map(re.escape, PLACES), key=len, reverse=True)))

    def __post_init__(self) -> None:
        """Choose the ports."""
        self.ports = {name: free_port() for name in ("postgres", "s3", "api", "metrics", "gcs", "jobs", "client")}

    def here(self, text: str, own: dict[str, object]) -> str:
        """A text of the file, for this machine; `own` has the names that only this replica's places have."""

        def replace(found: re.Match[str]) -> str:
            self.met.add(found[0])
            return self.fill(PLACES[found[0]], own)

        return self._search.sub(replace, text)

    def fill(self, text: str, own: dict[str, object]) -> str:
        """The names in braces, as they are here."""
        return text.format(folder=self.folder, **self.ports, **own)


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
