"""PostgreSQL and an S3 server of this machine in place of the images, with those images' variables."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from deploy.trial.places import ROOT, Places, free_port
from deploy.trial.readers import Taken
from deploy.trial.running import Trial, TrialError, say

# Lies beside the checkout where our own tests run (see .ci/run); everybody else names a server by --store-url.
START_S3 = ROOT.parent / "shared" / "bin" / "start-s3"
POLICY = ROOT / "deploy" / "store-policy.json"


def postgres(trial: Trial, places: Places, given: Taken) -> bool:
    """A server with the image's user, password and database; False: PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        return False
    binaries, home = found[-1].parent, trial.folder / "postgres"
    home.mkdir(mode=0o700)
    password = home / "password"
    password.write_text(given["POSTGRES_PASSWORD"])
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        owner = pwd.getpwnam("postgres")
        for path in (home, password):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        as_user = ["runuser", "-u", "postgres", "--"]
    user, data = given["POSTGRES_USER"], str(home / "data")
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    initdb = [str(binaries / "initdb"), "-D", data, "-U", user, "-A", "scram-sha-256", "-N", f"--pwfile={password}"]
    trial.run([*as_user, *initdb], env)
    port = places.ports["postgres"]
    say(f"postgres: PostgreSQL of this machine on 127.0.0.1:{port}")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={home} -c fsync=off"
    start = [str(binaries / "pg_ctl"), "-D", data, "-w", "-l", str(home / "log"), "-o", options, "start"]
    trial.run([*as_user, *start], env)
    login = {"PGPASSWORD": given["POSTGRES_PASSWORD"], "PGUSER": user, "PGHOST": "127.0.0.1", "PGPORT": str(port)}
    trial.run([str(binaries / "createdb"), given["POSTGRES_DB"]], {**env, **login})
    return True


def s3(trial: Trial, places: Places, given: Taken) -> bool:
    """An S3 server with the administrator that the image is told of; False: none is installed."""
    if not (START_S3.exists() and shutil.which("radosgw")):
        return False
    port = places.ports["s3"]
    keys = {"ACCESS_KEY": given["MINIO_ROOT_USER"], "SECRET_KEY": given["MINIO_ROOT_PASSWORD"]}
    env = {"PATH": os.environ["PATH"], "PORT": str(port), "MON_PORT": str(free_port()), **keys}
    trial.run([str(START_S3), str(trial.folder / "s3")], env)
    say(f"minio: Ceph's S3 gateway on 127.0.0.1:{port}")
    return True


def s3_setup(trial: Trial, places: Places, given: Taken, store_url: str) -> None:
    """What mc does in the file: the bucket, and a user who may do with it what the policy says, and nothing else.

    Raises:
        TrialError: that user may do more.
    """
    env = {"PATH": os.environ["PATH"], "CEPH_CONF": str(trial.folder / "s3" / "ceph.conf")}
    user = given["DALE_S3_ACCESS_KEY"]
    secret = given["DALE_S3_SECRET_KEY"]
    made = ["radosgw-admin", "user", "create", f"--uid={user}", f"--display-name={user}", "--max-buckets=-1"]
    trial.run([*made, f"--access-key={user}", f"--secret-key={secret}"], env)
    policy = json.loads(POLICY.read_text())
    for statement in policy["Statement"]:
        statement["Principal"] = {"AWS": [f"arn:aws:iam:::user/{user}"]}
    administrator = {
        "DALE_S3_ACCESS_KEY": given["MINIO_ROOT_USER"],
        "DALE_S3_SECRET_KEY": given["MINIO_ROOT_PASSWORD"],
    }
    bucket = urlsplit(store_url).netloc
    endpoint = f"127.0.0.1:{places.ports['s3']}"
    code = (
        "import os, sys, minio; c = minio.Minio(sys.argv[1], secure=False, "
        "access_key=os.environ['DALE_S3_ACCESS_KEY'], secret_key=os.environ['DALE_S3_SECRET_KEY']); "
    )
    trial.python(
        code + "c.make_bucket(sys.argv[2]); c.set_bucket_policy(*sys.argv[2:4])",
        administrator,
        endpoint,
        bucket,
        json.dumps(policy),
    )
    attempt = "\ntry: c.make_bucket('another')\nexcept minio.S3Error as error: print(error.code)"
    refused = trial.python(code + attempt, {"DALE_S3_ACCESS_KEY": user, "DALE_S3_SECRET_KEY": secret}, endpoint)
    if not refused.strip():
        raise TrialError(f"the service's user of the store, {user}, could make a bucket of its own")
    say(f"minio-setup: bucket {bucket}; {user} may use it as {POLICY.name} says, and no other ({refused.strip()})")
