"""Addresses that a process listens on."""

PORT_MAX = 65_535


class CannotListen(Exception):
    """An address is taken, or is none; the message names it."""


def host_and_port(listen: str) -> tuple[str, int]:
    """Takes `host:port` apart."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or len(port) > len(str(PORT_MAX)) or int(port) > PORT_MAX:
        raise CannotListen(f"{listen!r} is not host:port")
    try:
        host.encode("idna")
    except UnicodeError:
        raise CannotListen(f"{listen!r} is not host:port: the host is no name") from None
    return host.removeprefix("[").removesuffix("]"), int(port)
