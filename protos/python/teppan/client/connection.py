"""How to reach a service: its addresses, TLS, and what the channel does about dead connections and draining replicas."""

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import grpc

MESSAGE_BYTES_MAX = 4 * 1024 * 1024 + 64 * 1024
KEEPALIVE_MS, KEEPALIVE_PATIENCE_MS = 20_000, 10_000
REPLICATED = json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})
"""Replicas take turns, and one that says NOT_SERVING is left. A single address may be a proxy's, whose health says nothing of what
stands behind it.

The retry policy of `service_config.json` is for clients without this package. Here it would repeat below `attempts`, where it knows
nothing of RetryInfo (it sent again after 0.1 s what was to wait for 1 s), and where a call that ended during its pause said
DEADLINE_EXCEEDED instead of what the service had answered (both measured with grpcio 1.76).
"""
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # two channels that share a connection and watch its health crash the process (1.76)
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # no backoff, whatever its name: how long one attempt to connect may take
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_PATIENCE_MS),
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_PATIENCE_MS),  # without it a dead connection is noticed after a minute
    ("grpc.http2.max_pings_without_data", 0),  # a stream whose server is silent for long is watched too
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
)
NO_PROXY = ("grpc.enable_http_proxy", 0)
"""Whatever `http_proxy` in the environment says. In plaintext a proxy would read tokens and data, and to this machine none leads."""
PORT_MAX, PORT_DIGITS_MAX = 65_535, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Whom to trust, and what to show. All certificates and keys are PEM."""

    ca: bytes | None = None
    """The certificates that a server's is checked with; None: those of the system."""
    certificate: bytes | None = None
    """The client's own, with its chain, where servers ask for one."""
    key: bytes | None = field(default=None, repr=False)
    server_name: str | None = None
    """The name in the server's certificate, where it is not the host of the address."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client's certificate and its key go together: give both, or neither")

    @classmethod
    def from_files(
        cls, *, ca: Path | str | None = None, certificate: Path | str | None = None, key: Path | str | None = None,
        server_name: str | None = None,
    ) -> Self:  # fmt: skip
        """The same from PEM files; raises OSError."""
        read = [None if file is None else Path(file).read_bytes() for file in (ca, certificate, key)]
        return cls(ca=read[0], certificate=read[1], key=read[2], server_name=server_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What a channel is made with; None for credentials is plaintext."""

    target: str
    options: Sequence[tuple[str, Any]]
    credentials: grpc.ChannelCredentials | None


def connection_to(addresses: str | Sequence[str], *, tls: Tls | None, plaintext: bool) -> Connection:
    """To one address, or to several replicas. Raises ValueError, and OSError where a replica's name is unknown."""
    listed = [addresses] if isinstance(addresses, str) else list(addresses)
    if not listed:
        raise ValueError("a channel needs an address: 'host:port'")
    hosts = [_host_and_port(address)[0] for address in listed]
    if tls is None and not plaintext and (open_ := [host for host in hosts if not _loopback(host)]):
        raise ValueError(
            f"{open_[0]!r} is another machine, and without TLS everybody on the way could read tokens and data: pass "
            "tls=Tls(...), or plaintext=True where something else encrypts the way (a mesh, a sidecar)"
        )
    options: list[tuple[str, Any]] = [*OPTIONS]
    if len(listed) > 1:
        options.append(("grpc.service_config", REPLICATED))
    if tls is None or all(_loopback(host) for host in hosts):
        options.append(NO_PROXY)
    if authority := _authority(hosts, tls):
        options.append(("grpc.default_authority", authority))
    credentials = None if tls is None else grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
    return Connection(target=_target(listed), options=options, credentials=credentials)


def _host_and_port(address: str) -> tuple[str, str]:
    """Takes `host:port` apart; a socket's `unix:` path is a host without a port."""
    if address.startswith("unix:"):
        return address, ""
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host.strip("[]") or not _port(port) or (":" in host) != bracketed or "/" in host:
        raise ValueError(f"{address!r} is not 'host:port' (an IPv6 address stands in brackets: '[::1]:50052')")
    return host.strip("[]"), port


def _port(port: str) -> bool:
    return port.isascii() and port.isdecimal() and len(port) <= PORT_DIGITS_MAX and 0 < int(port) <= PORT_MAX


def _loopback(host: str) -> bool:
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere
        return False


def _authority(hosts: Sequence[str], tls: Tls | None) -> str | None:
    """Whom a server must prove to be; None: the host of the one address."""
    if tls is not None and tls.server_name is not None:
        return tls.server_name
    if len(hosts) == 1:
        return None
    if tls is not None and len(set(hosts)) > 1:
        raise ValueError("replicas of different names need the one name that stands in their certificates: Tls(server_name=...)")
    return hosts[0]


def _target(addresses: Sequence[str]) -> str:
    """As gRPC names it. It resolves one name again and again; of several, which it cannot, each is resolved here, once."""
    if len(addresses) == 1:
        return addresses[0] if addresses[0].startswith("unix:") else f"dns:///{addresses[0]}"
    found = [each for address in addresses for each in _resolved(*_host_and_port(address))]
    if all(":" not in host for host, _ in found):
        return "ipv4:" + ",".join(f"{host}:{port}" for host, port in found)
    return "ipv6:" + ",".join(f"[{host if ':' in host else f'::ffff:{host}'}]:{port}" for host, port in found)


def _resolved(host: str, port: str) -> list[tuple[str, str]]:
    """The IPv4 addresses of a host, or else its IPv6 ones."""
    if not port:
        raise ValueError(f"{host!r} cannot be one of several replicas: only 'host:port' can")
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise OSError(f"no address of {host!r} is known: {error}") from error
    preferred = min((info[0] for info in infos), key=lambda family: family is not socket.AF_INET)
    return [(str(info[4][0]), port) for info in infos if info[0] is preferred]
