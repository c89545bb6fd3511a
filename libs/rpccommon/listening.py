"""Addresses that a process listens on."""


class CannotListen(Exception):
    """An address is taken, or is none; the message names it."""


def host_and_port(listen: str) -> tuple[str, int]:
    """Takes `host:port` apart."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        raise CannotListen(f"{listen!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
