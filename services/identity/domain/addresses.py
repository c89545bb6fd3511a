"""Where a login comes from: the client's address, as proxies that are trusted have seen it."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote

UNKNOWN = "unknown"
"""All whose address nobody can tell, together."""
CLIENT_V6_BITS = 64
"""What one client of IPv6 commonly has: it may take any address in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """Whose word on addresses counts: networks, and names in the certificates of those who call."""

    networks: Sequence[IPv4Network | IPv6Network] = ()
    names: AbstractSet[str] = frozenset()

    def trusts(self, address: str) -> bool:
        """Whether an address is a proxy's."""
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self.networks)


def proxies_of(text: str) -> Proxies:
    """Reads `10.0.0.0/8 192.0.2.7 envoy`: networks, addresses and names. Raises ValueError."""
    networks: list[IPv4Network | IPv6Network] = []
    names = []
    for part in text.replace(",", " ").split():
        if part[0].isdigit() or ":" in part or "/" in part:
            networks.append(ip_network(part))
        else:
            names.append(part)
    return Proxies(networks=networks, names=frozenset(names))


def client_of(peer: str, certified: AbstractSet[str], forwarded: Sequence[str], proxies: Proxies) -> str:
    """The client of a call: its IPv4 address, or the network of its IPv6 address.

    `peer` is as gRPC says it (`ipv4:192.0.2.7:5000`), `certified` the names in its certificate, `forwarded` the values of
    X-Forwarded-For. Each proxy appends whom it saw, so it is read from the right, for as long as the one who says so is trusted: what
    stands left of that may be anybody's invention.
    """
    address = _host(peer)
    entries = [entry.strip() for value in forwarded for entry in value.split(",")]
    trusted = proxies.trusts(address) or bool(proxies.names & certified)
    while trusted and entries:
        address = entries.pop()
        trusted = proxies.trusts(address)
    return _place(address)


def _host(peer: str) -> str:
    scheme, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if scheme in {"ipv4", "ipv6"} else UNKNOWN


def _place(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return UNKNOWN
    if isinstance(found, IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped) if mapped else str(IPv6Network((int(found), CLIENT_V6_BITS), strict=False))
    return str(found)
