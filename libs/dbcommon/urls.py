"""Connection URLs as libpq reads them: what a parameter means there it means here, and what is not understood is said at once."""

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
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise UrlInvalid(f"a database's URL begins with postgresql:// or postgres://, and not with {parts.scheme or 'nothing'}")
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(given.keys() - UNDERSTOOD_BY_DRIVER - SETTINGS_OF_SESSION - {CONNECT_TIMEOUT})
    if unknown:
        understood = ", ".join(sorted(UNDERSTOOD_BY_DRIVER | SETTINGS_OF_SESSION | {CONNECT_TIMEOUT}))
        raise UrlInvalid(f"the database's URL has {', '.join(unknown)}, which is not supported; these are: {understood}")
    try:
        seconds = float(given.get(CONNECT_TIMEOUT, "") or 0)
    except ValueError:
        raise UrlInvalid(f"{CONNECT_TIMEOUT} of the database's URL is no number of seconds") from None
    _check_hosts(parts.netloc.rpartition("@")[2], given.get("port", ""))
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
    if wrong := [port for port in found if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= PORT_MAX)]:
        raise UrlInvalid(f"a port of the database's URL is a number up to {PORT_MAX}, and not {', '.join(wrong)}")
