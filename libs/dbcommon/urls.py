"""Connection URLs as libpq reads them: what a parameter means there it means here, and what is not understood is said at once."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

CONNECT_SECONDS = 5
UNDERSTOOD_BY_DRIVER = frozenset((
    "host", "port", "user", "password", "dbname", "passfile", "sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl",
    "ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs",
))  # fmt: skip
SETTINGS_OF_SESSION = frozenset(("application_name", "options"))
"""Sent to the server when a session begins."""
CONNECT_TIMEOUT = "connect_timeout"
PORT_MAX = 65_535
PORT, NAME = re.compile(r"[0-9]{1,5}"), re.compile(r"[a-z_]{1,40}")
WORDS = {
    "sslmode": ("prefer", "disable", "allow", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "primary", "standby", "read-write", "read-only", "prefer-standby"),
}
ENCODE = "in its user and password, / ? # @ : [ ] and % are written as %2F %3F %23 %40 %3A %5B %5D and %25"


class UrlInvalid(ValueError):
    """The URL is none that this code can use; the sentence says why, and shows no password."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect, and how."""

    dsn: str
    seconds: float
    """How long an attempt to connect may take."""
    session: dict[str, str]
    """Settings of each session."""

    def arguments(self, **session: str) -> dict[str, Any]:
        """Returns the arguments for asyncpg, with further settings of the session."""
        return {"dsn": self.dsn, "timeout": self.seconds, "server_settings": {**self.session, **session}}


def endpoint(url: str) -> Endpoint:
    """Returns what a URL says. Raises UrlInvalid."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UrlInvalid(f"the database's URL cannot be read; {ENCODE}") from None
    if parts.scheme not in {"postgresql", "postgres"}:
        raise UrlInvalid(f"a database's URL begins with postgresql:// or postgres://, and not with {parts.scheme or 'nothing'}")
    if "@" in parts.path + parts.query + parts.fragment and "@" not in parts.netloc:
        raise UrlInvalid(f"the database's URL has an @ only behind its host; {ENCODE}")
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(given.keys() - UNDERSTOOD_BY_DRIVER - SETTINGS_OF_SESSION - {CONNECT_TIMEOUT})
    if unknown:
        understood = ", ".join(sorted(UNDERSTOOD_BY_DRIVER | SETTINGS_OF_SESSION | {CONNECT_TIMEOUT}))
        raise UrlInvalid(
            f"the database's URL has {', '.join(map(_told, unknown))}, which is not supported; these are: {understood}"
        )
    try:
        seconds = float(given.get(CONNECT_TIMEOUT, "") or 0)
    except ValueError:
        raise UrlInvalid(f"{CONNECT_TIMEOUT} of the database's URL is no number of seconds") from None
    _check_hosts(f"{parts.netloc.rpartition('@')[2]},{given.get('host', '')}", given.get("port", ""))
    for name, words in WORDS.items():
        if given.get(name, words[0]) not in words:
            raise UrlInvalid(f"{name} of the database's URL is one of {', '.join(words)}")
    rest = {name: value for name, value in given.items() if name in UNDERSTOOD_BY_DRIVER}
    return Endpoint(
        dsn=urlunsplit(parts._replace(scheme="postgresql", query=urlencode(rest))),
        seconds=seconds if seconds > 0 else CONNECT_SECONDS,
        session={name: value for name, value in given.items() if name in SETTINGS_OF_SESSION},
    )


def _check_hosts(hosts: str, ports: str) -> None:
    """Hosts as in `one,[::1]:5433,three:5434`: asyncpg would say it in a traceback, and only when it connects."""
    found = ports.split(",")
    for each in hosts.split(","):
        address, bracket, rest = each.rpartition("]")
        name, colon, port = rest.rpartition(":")
        found.append(port if colon else "")
        host = unquote(address if bracket else name if colon else rest)
        try:
            if not host.startswith("/"):  # a folder, of any length
                host.lstrip("[").encode("idna")
        except UnicodeError:
            raise UrlInvalid("a host of the database's URL is no name: it has an empty part, or one that is too long") from None
    if not all(PORT.fullmatch(port) and 0 < int(port) <= PORT_MAX for port in found if port):
        raise UrlInvalid(f"a port of the database's URL is no number up to {PORT_MAX}; {ENCODE}")


def _told(name: str) -> str:
    """What may be said of a parameter's name, which may be the rest of a password."""
    return name if NAME.fullmatch(name) else "a parameter that is none"
