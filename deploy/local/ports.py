"""The ports of a stack on this machine: which are chosen, which are free, and what is said of one that is neither."""

import contextlib
import random
import socket
from collections.abc import Mapping

from local.database import SERVICES

PORTS = {"identity": 50051, "bookings": 50052, "payments": 50053}
METRICS = {"identity": 9051, "bookings": 9052, "payments": 9053}
ANY_PORT = 0
HIGHEST_PORT = 65_535
METRICS_ABOVE = 1_000
"""So far above the chosen port of a service is that of its metrics."""
FREE_PORTS = range(30_000, 32_768)


class BadPorts(Exception):
    """Ports that cannot be used; the message says which, and what to do."""


def chosen_ports(text: str) -> dict[str, int]:
    """The ports of all services, with those of `bookings=6052 payments=6053`; 0 is any that is free. Raises BadPorts."""
    wanted = dict(PORTS)
    for part in text.split():
        service, _, port = part.partition("=")
        if service not in SERVICES or not port.isdecimal() or not port.isascii():
            raise BadPorts(f"PORTS: {part!r} is not like bookings=6052; services are {', '.join(SERVICES)}")
        wanted[service] = int(port) if len(port) <= len(str(HIGHEST_PORT)) else HIGHEST_PORT + 1
        if wanted[service] > HIGHEST_PORT - METRICS_ABOVE:
            highest = HIGHEST_PORT - METRICS_ABOVE
            raise BadPorts(f"PORTS: {part!r}: the highest is {highest}, for metrics are served {METRICS_ABOVE} above it")
    return wanted


def metrics_ports(ports: Mapping[str, int]) -> dict[str, int]:
    """The ports for metrics, which move with those of the services."""
    return {
        service: METRICS[service] if port == PORTS[service] else port + METRICS_ABOVE if port else ANY_PORT
        for service, port in ports.items()
    }


def refuse_shared(ports: Mapping[str, int], metrics: Mapping[str, int]) -> None:
    """Raises BadPorts where two would listen on one port."""
    found: dict[int, str] = {}
    for what, chosen in (("", ports), ("metrics of ", metrics)):
        for service, port in chosen.items():
            if port and (other := found.setdefault(port, f"{what}{service}")) != f"{what}{service}":
                raise BadPorts(f"PORTS: {other} and {what}{service} would both listen on {port}: give each a port of its own")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has now. Raises BadPorts where there are too few.

    None of those that kernels give to connections: such a one took the port of a service that was being restarted, which then ended.
    """
    found: list[int] = []
    for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise BadPorts(f"there are no {count} free ports between {FREE_PORTS[0]} and {FREE_PORTS[-1]}")


def refuse_taken(ports: Mapping[str, int], metrics: Mapping[str, int]) -> None:
    """Raises BadPorts where somebody listens on one of them already."""
    for service, port in ports.items():
        if why := _taken(port):
            raise BadPorts(f"port {port}, which {service} listens on, is taken ({why}): {_instead(service, port)}")
    for service, port in metrics.items():
        if why := _taken(port):
            raise BadPorts(
                f"port {port}, where {service} serves metrics, is taken ({why}); it moves with the service's own: "
                f"{_instead(service, ports[service])}"
            )


def _instead(service: str, port: int) -> str:
    other = port + METRICS_ABOVE if port + 2 * METRICS_ABOVE <= HIGHEST_PORT else port - METRICS_ABOVE
    return f"stop what listens there, or choose another: make up PORTS={service}={other}"


def _taken(port: int) -> str | None:
    """Why nobody can listen on a port of loopback; None where somebody can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return str(error.strerror)
    return None
