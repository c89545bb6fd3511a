"""What every service is told by its environment, read once at start, with every mistake named at once."""

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dbcommon.urls import UrlInvalid, endpoint
from tls import Tls, on_loopback

DRAIN_SECONDS = 5.0
TLS_FILES = ("TEPPAN_TLS_CERTIFICATE_FILE", "TEPPAN_TLS_KEY_FILE", "TEPPAN_TLS_CA_FILE")
COMPILED_PATH, PYTHON_PATH = "compiled", "python"
PLAINTEXT_ALLOWED = "allowed"


class SettingsWrong(Exception):
    """The environment is not what the service needs; the message has a line for each mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings that all services share. Secrets are held, and never shown."""

    service: str
    listen: str
    metrics_listen: str
    app_url: str
    platform_url: str
    peers: Mapping[str, str]
    """`host:port` by service."""
    service_key: Ed25519PrivateKey
    service_jwks: str
    """The public keys of all services: a JWK Set, as JSON."""
    token_key: bytes
    tls: Tls | None = None
    """None is plaintext."""
    drain_seconds: float = DRAIN_SECONDS
    direct_url: str = ""
    """Of the platform's role, to the server itself and not to a pooler before it: for what a session lives for. Empty: `platform_url`."""
    prepared: bool = True
    """Whether statements may be kept on the server."""
    list_path: str = COMPILED_PATH
    """How lists are made: by the compiled encoder where there is one, or in Python."""

    def __repr__(self) -> str:
        """Without secrets: URLs hold passwords."""
        return f"Settings(service={self.service!r}, listen={self.listen!r})"


class Reader:
    """Reads variables and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Takes the environment; only `__main__` has it."""
        self._environ = environ
        self.problems: list[str] = []

    def text(self, name: str, default: str | None = None) -> str:
        """A variable; a problem where it is missing and has no default."""
        value = self._environ.get(name, "") or default
        if value is None:
            self.problems.append(f"{name} is not set")
            return ""
        return value

    def file(self, name: str, parse: Callable[[bytes], object]) -> object:
        """What is in the file that a variable names."""
        path = self.text(name)
        if not path:
            return None
        try:
            return parse(Path(path).read_bytes())
        except OSError as error:
            self.problems.append(f"{name}: {path} cannot be read: {error.strerror}")
        except (ValueError, TypeError, KeyError, binascii.Error) as error:
            self.problems.append(f"{name}: {path} does not hold what it should: {error}")
        return None

    def parsed(self, name: str, parse: Callable[[str], object]) -> object:
        """What a variable says, which may be empty."""
        try:
            return parse(self.text(name, ""))
        except ValueError as error:
            self.problems.append(f"{name} is not what it should be: {error}")
        return None

    def secret(self, name: str) -> str:
        """A variable, or what is in the file that `<name>_FILE` names: processes' environments are seen by too many."""
        if self._environ.get(f"{name}_FILE"):
            return str(self.file(f"{name}_FILE", lambda content: content.decode().strip()) or "")
        return self.text(name)

    def url(self, name: str, default: str | None = None) -> str:
        """A secret that is a database's URL; a problem where it is none."""
        if default is not None and not (self._environ.get(name) or self._environ.get(f"{name}_FILE")):
            return default
        value = self.secret(name)
        try:
            if value:
                endpoint(value)
        except UrlInvalid as error:
            self.problems.append(f"{name}: {error}")
        return value

    def seconds(self, name: str, default: float) -> float:
        """A length of time; a problem where it is none."""
        value = self.text(name, str(default))
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if not 0 <= found < math.inf:
            self.problems.append(f"{name} is {value!r}, and not a number of seconds")
        return found

    def one_of(self, name: str, values: Sequence[str]) -> str:
        """One of some words, by default the first; a problem where it is another one."""
        value = self.text(name, values[0])
        if value not in values:
            self.problems.append(f"{name} is {value!r}, and not {' or '.join(values)}")
        return value

    def done(self) -> None:
        """Raises SettingsWrong with every problem."""
        if self.problems:
            raise SettingsWrong("\n".join(self.problems))


def read(service: str, reader: Reader, *, peers: Sequence[str]) -> Settings:
    """The settings of a service that calls these others; the caller asks `reader.done()` before it uses them."""
    settings = Settings(
        service=service,
        listen=reader.text("TEPPAN_LISTEN"),
        metrics_listen=reader.text("TEPPAN_METRICS_LISTEN"),
        app_url=reader.url("TEPPAN_DATABASE_APP_URL"),
        platform_url=reader.url("TEPPAN_DATABASE_PLATFORM_URL"),
        peers={name: reader.text(f"TEPPAN_{name.upper()}_ADDRESS") for name in peers},
        service_key=reader.file("TEPPAN_SERVICE_KEY_FILE", private_key),  # type: ignore[arg-type]  # None is a problem that is noted
        service_jwks=reader.file("TEPPAN_SERVICE_JWKS_FILE", _jwks),  # type: ignore[arg-type]  # likewise
        token_key=reader.file("TEPPAN_TOKEN_KEY_FILE", _token_key),  # type: ignore[arg-type]  # likewise
        tls=tls(reader),
        drain_seconds=reader.seconds("TEPPAN_DRAIN_SECONDS", DRAIN_SECONDS),
        direct_url=reader.url("TEPPAN_DATABASE_DIRECT_URL", ""),
        prepared=reader.one_of("TEPPAN_DATABASE_PREPARED", ("on", "off")) == "on",
        list_path=reader.one_of("TEPPAN_LIST_PATH", (COMPILED_PATH, PYTHON_PATH)),
    )
    if settings.tls is None and reader.text("TEPPAN_PLAINTEXT", "loopback") != PLAINTEXT_ALLOWED:
        addresses = [settings.listen, settings.metrics_listen, *settings.peers.values()]
        reader.problems += [
            f"{address} is not on loopback, and would be plaintext: set {', '.join(TLS_FILES)} "
            f"(or TEPPAN_PLAINTEXT={PLAINTEXT_ALLOWED}, where something else keeps others out)"
            for address in addresses
            if address and not on_loopback(address)
        ]
    return settings


def tls(reader: Reader) -> Tls | None:
    """The three files of TLS, or None where there are none of them."""
    given = [reader.text(name, "-") != "-" for name in TLS_FILES]
    if not any(given):
        return None
    certificate, key, ca = (Path(reader.text(name)) for name in TLS_FILES)
    return Tls(certificate_file=certificate, key_file=key, ca_file=ca)


def private_key(pem: bytes) -> Ed25519PrivateKey:
    """An Ed25519 key in PEM (PKCS 8); raises ValueError for any other."""
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("the key is not an Ed25519 one")  # noqa: TRY004  # of the file's content, not of an argument
    return key


def _jwks(text: bytes) -> str:
    if not isinstance(json.loads(text).get("keys"), list):
        raise ValueError("there is no list of keys in it")  # noqa: TRY004  # of the file's content, not of an argument
    return text.decode()


def _token_key(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text.strip() + b"=" * (-len(text.strip()) % 4))
