"""The services of the compose file, started in its order; each has to be healthy by its own check."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.trial import readers, stand_ins
from deploy.trial.composed import FileError, Interpolation, Service, image_environment, read
from deploy.trial.places import (
    NOT_LOOKED_AT,
    NOT_RUN,
    OWN_ARGUMENTS,
    OWN_VARIABLES,
    PLACES,
    UNREAD,
    Places,
    env_file,
    free_port,
)
from deploy.trial.readers import Taken
from deploy.trial.running import Trial, TrialError, say

PROFILES = {"cpu"}
STAND_INS = {"postgres", "minio", "minio-setup"}


@dataclass
class Cluster:
    """The file, as it runs here.

    Attributes:
        given: values of the file of variables.
        services: in the order in which they start.
        instead: variables that are replaced because a server is not installed, or is another's.
    """

    trial: Trial
    places: Places
    given: Mapping[str, str]
    services: list[Service]
    instead: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start every service in turn, and wait until it is healthy, or over.

        Raises:
            FileError: a variable or an entry of our tables is used by nothing.
            TrialError: a part does not work.
        """
        for service in self.services:
            if service.name in STAND_INS:
                self._stand_in(service)
            else:
                self._run(service)
        if stale := PLACES.keys() - self.places.met - (PLACES_OF_SERVERS if self.instead else set()):
            raise FileError(f"the table of places has what the file does not say any more: {sorted(stale)}")

    def environment(self, service: Service, own: Mapping[str, object] | None = None) -> dict[str, str]:
        """What a service is given: its image's variables, the file's over them, and what a container has for itself."""
        own = {**self._own(service, 1), **(own or {})}
        set_by_image = image_environment(service.dockerfile) if service.dockerfile else {}
        found = {}
        for name, value in {**set_by_image, **service.environment}.items():
            there = value.replace("$PATH", os.environ["PATH"]) if name == "PATH" else value
            found[name] = self.places.here(f"{name}={there}", own).partition("=")[2]
        needed = {name: self.places.fill(value, own) for name, value in OWN_VARIABLES.items()}
        return {**needed, **found, **{name: value for name, value in self.instead.items() if name in found}}

    def service(self, name: str) -> Service:
        """One of them."""
        return next(one for one in self.services if one.name == name)

    def _run(self, service: Service) -> None:
        for number in range(1, service.replicas + 1):
            own = self._own(service, number)
            name = service.name if service.replicas == 1 else f"{service.name}-{number}"
            command = [self.places.here(word, own) for word in service.command]
            command += [self.places.fill(word, own) for word in OWN_ARGUMENTS.get(service.name, ())]
            env = self.environment(service, own)
            if service.once:
                say(f"{name}$ {' '.join(command)}")
                self.trial.run(command, env)
                continue
            self.trial.start(name, command, env)
            check = [self.places.here(word, own) for word in service.health]
            self.trial.wait(f"{name} to be healthy", self._checked(check, env, service.health_timeout))
            say(f"{name} is healthy by its own check")

    def _checked(self, check: list[str], env: Mapping[str, str], seconds: float) -> Callable[[], str]:
        def against() -> str:
            try:
                self.trial.run(check, env, seconds=seconds)
            except TrialError as error:
                return str(error)
            return ""

        return against

    def _own(self, service: Service, number: int) -> dict[str, object]:
        """The names that only one replica's places have."""
        tmp = self.trial.folder / f"tmp-{service.name}-{number}"
        if not tmp.exists():
            tmp.mkdir()
            tmp.with_suffix(".agent").write_text(str(free_port()))
        return {"tmp": tmp, "number": number, "host": number + 2, "agent": tmp.with_suffix(".agent").read_text()}

    def _stand_in(self, service: Service) -> None:
        given = Taken(service)
        if service.name == "postgres":
            if not stand_ins.postgres(self.trial, self.places, given):
                say("NOTE: PostgreSQL is not installed: the database is SQLite, which only one machine can share")
                self.instead["DALE_DATABASE_URL"] = f"sqlite:///{self.trial.folder / 'dale.db'}"
                return
            env = self.environment(service)
            self.trial.wait("postgres to be healthy", self._checked(list(service.health), env, service.health_timeout))
            say("postgres is healthy by its own check")
        elif "DALE_STORE_URL" in self.instead:
            return
        elif service.name == "minio":
            if not stand_ins.s3(self.trial, self.places, given):
                say("NOTE: no S3 server (see --store-url): the store is a folder. Real machines share no folder.")
                self.instead["DALE_STORE_URL"] = (self.trial.folder / "objects").as_uri()
                return
        else:
            store_url = self.service("api").environment["DALE_STORE_URL"]
            stand_ins.s3_setup(self.trial, self.places, given, store_url)
        given.check()


PLACES_OF_SERVERS = {"postgres:5432", "minio:9000", "127.0.0.1:9000"}


def prepare(file: Path, trial: Trial, nodes: int | None, instead: dict[str, str]) -> Cluster:
    """Read the file and choose the places.

    Raises:
        FileError: the file cannot be read, or a variable that it is given is asked for by nothing.
    """
    variables = Interpolation(env_file())
    services, others = read(file, variables, PROFILES)
    if unused := variables.values.keys() - variables.used:
        raise FileError(f"the file asks for no {', '.join(sorted(unused))}")
    if nodes:
        services = [replace(one, replicas=nodes) if one.name == "ray-worker" else one for one in services]
    for service in services:
        if service.name not in STAND_INS:
            readers.check(service)
    say(f"{file.name}: {', '.join(one.name for one in services)}")
    for name in [one.name for one in services if one.name in NOT_RUN] + others:
        say(f"not run here: {name}: {NOT_RUN.get(name, 'not of the profile cpu')}")
    for name, why in UNREAD.items():
        if any(name in one.environment for one in services):
            say(f"not read here: {name}: {why}")
    say(f"not looked at: {NOT_LOOKED_AT}")
    for folder in ("uploads", "objects"):
        (trial.folder / folder).mkdir()
    return Cluster(trial, Places(trial.folder), variables.values, services, dict(instead))
