"""The composed stack: started, stopped, described; and what a test does to it."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from teppan.identity.v1 import tokens_pb2, tokens_pb2_grpc

from compose import secrets
from local import secret
from local.database import ROOT, SERVICES
from local.stack import NO_PROXY

FILE = ROOT / "deploy" / "compose.yaml"
MOUNTS = (
    "envoy/envoy.yaml",
    "postgres/cluster.sql",
    "postgres/roles.sql",
    "observability/prometheus.yml",
    "observability/alerts.yml",
)
MOUNTED = [ROOT / "deploy" / name for name in MOUNTS]
READABLE = 0o444
DATABASE = "teppan"
EMAIL = "admin@teppan.example"
LOGIN_SECONDS = 10.0


class EngineFails(Exception):
    """There is no Docker engine, or it does not do what it was told; the message has what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A stack of `deploy/compose.yaml`, its secrets and its description in a folder."""

    folder: Path
    project: str
    ports: Mapping[str, int]
    """Of this machine's loopback, by service; that of `prometheus` may be there too."""
    version: str = "dev"
    """The tag of its images."""
    email: str = EMAIL
    """The first administrator's."""

    @property
    def secrets(self) -> Path:
        """Where its containers' secrets are."""
        return self.folder / "secrets"

    @property
    def authority(self) -> Path:
        """The certificate of the development authority."""
        return self.secrets / "authority" / "ca.crt"

    @property
    def trusted(self) -> Path:
        """The certificate by which clients believe Envoy."""
        return self.secrets / "envoy" / "edge-ca.crt"

    @property
    def password_file(self) -> Path:
        """The first administrator's password."""
        return self.secrets / "admin" / "password"

    def address(self, service: str) -> str:
        """Where Envoy listens for a service: `host:port`."""
        return f"localhost:{self.ports[service]}"

    def up(self, *, show: bool) -> None:
        """Makes the images and what is missing of the secrets, starts everything, and returns when it is healthy.

        Raises EngineFails, and StackFails where the secrets cannot be made.
        """
        self._refuse_another_clones()
        secrets.make(self.secrets, DATABASE)
        for path in MOUNTED:  # containers' users read them, whatever the umask of the clone
            if (mode := path.stat().st_mode) | READABLE != mode:
                path.chmod(mode | READABLE)
        self.compose("build", show=show)
        try:
            self.compose("up", "--detach", "--wait", "--remove-orphans", show=show)
        except EngineFails as failure:
            raise EngineFails(f"{failure}\n{self.compose('ps', '--all')}\n{self.compose('logs', '--tail=20')}") from failure

    def down(self, *, data: bool, show: bool) -> None:
        """Stops and removes its containers and networks; its data too, where asked. Raises EngineFails."""
        self._refuse_another_clones()
        self.compose("--profile=*", "down", "--remove-orphans", *(["--volumes"] if data else []), show=show)

    def describe(self) -> Mapping[str, str]:
        """Logs in as the administrator, and writes `stack.json`: addresses, authority, token."""
        known = {
            **{service: self.address(service) for service in SERVICES},
            "ca": str(self.trusted),
            "email": self.email,
            "password_file": str(self.password_file),
            "token": self._login(),
        }
        secret.write(self.folder / "stack.json", (json.dumps(known, indent=2) + "\n").encode())
        return known

    def containers(self, service: str) -> list[str]:
        """The IDs of a service's containers, stopped ones too, the first replica first."""
        found = self.compose("ps", "--all", "--format={{.Name}} {{.ID}}", service).split("\n")
        return [line.split()[1] for line in sorted(found) if line]

    def compose(self, *arguments: str, show: bool = False) -> str:
        """Runs `docker compose`; what it said, unless that is shown as it comes. Raises EngineFails."""
        environ = {
            **os.environ,
            "TEPPAN_PROJECT": self.project,
            "TEPPAN_SECRETS": str(self.secrets),
            "TEPPAN_ADMIN_EMAIL": self.email,
            "TEPPAN_VERSION": self.version,
            **{f"TEPPAN_{service.upper()}_PORT": str(port) for service, port in self.ports.items()},
        }
        return engine("compose", "--file", str(FILE), *arguments, environ=environ, show=show)

    def _refuse_another_clones(self) -> None:
        """Raises EngineFails where the project is another clone's: its containers would be replaced, with other secrets, or removed."""
        told = '--format={{.Label "com.docker.compose.project.config_files"}}'
        files = engine("ps", "--all", f"--filter=label=com.docker.compose.project={self.project}", told).split("\n")
        others = {
            file for file in files if file and FILE.resolve() not in {Path(each).resolve() for each in (file, *file.split(","))}
        }
        if others:
            raise EngineFails(
                f"the project `{self.project}` is that of {', '.join(sorted(others))}: say make compose-down there (where that is "
                f"gone: docker compose -p {self.project} down), or choose another name here (TEPPAN_PROJECT=...), and other ports"
            )

    def _login(self) -> str:
        credentials = grpc.ssl_channel_credentials(self.trusted.read_bytes())
        request = tokens_pb2.LoginRequest(email=self.email, password=self.password_file.read_text())
        with grpc.secure_channel(self.address("identity"), credentials, options=NO_PROXY) as channel:
            return str(tokens_pb2_grpc.TokensServiceStub(channel).Login(request, timeout=LOGIN_SECONDS).access_token)


def engine(*arguments: str, environ: Mapping[str, str] | None = None, show: bool = False) -> str:
    """Runs `docker`; what it said, unless that is shown as it comes. Raises EngineFails."""
    command: Sequence[str] = ["docker", *arguments]
    try:
        done = subprocess.run(command, env=environ, text=True, check=False, **({} if show else CAPTURED))  # type: ignore[call-overload]  # mypy takes no options by name
    except FileNotFoundError as error:
        raise EngineFails("there is no `docker` on PATH: install an engine with Compose 2.24 or newer") from error
    if done.returncode:
        raise EngineFails(f"`docker {' '.join(arguments)}` failed: {done.stderr or 'its message is above'}".strip())
    return str(done.stdout or "")


CAPTURED = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
