"""Whose failed logins are counted together: by the client's address, which only a trusted proxy may tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.domain.addresses import Proxies, client_of, proxies_of

NOBODY = proxies_of("")
EDGE = proxies_of("10.0.0.0/8, 192.0.2.7 2001:db8:1::/48 envoy")


def test_proxies_are_networks_addresses_and_names() -> None:
    assert EDGE.names == {"envoy"}
    assert [EDGE.trusts(address) for address in ("10.1.2.3", "192.0.2.7", "192.0.2.8", "2001:db8:1::5", "::1", "envoy", "")] == [
        True, True, False, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0", "10.0.0.0/33", "::1/129", "1:2", "300.1.1.1"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"does not appear|has host bits"):
        proxies_of(text)


@pytest.mark.parametrize(
    ("peer", "place"),
    [
        ("ipv4:198.51.100.4:50123", "198.51.100.4"),
        ("ipv6:[2001:db8:2:3:4::5]:50123", "2001:db8:2:3::/64"),
        ("ipv6:%5B2001:db8:2:3:ffff::1%5D:50123", "2001:db8:2:3::/64"),
        ("ipv6:[::ffff:198.51.100.4]:50123", "198.51.100.4"),
        ("unix:/tmp/socket", "unknown"),
        ("", "unknown"),
    ],
)
def test_without_a_proxy_it_is_who_connects(peer: str, place: str) -> None:
    for proxies in (NOBODY, EDGE):
        assert client_of(peer, frozenset(), ["203.0.113.9"], proxies) == place


@pytest.mark.parametrize(
    ("forwarded", "place"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["6.6.6.6, 203.0.113.9"], "203.0.113.9"),  # what stands before the last is the client's own invention
        (["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, 10.9.9.9"], "203.0.113.9"),  # another proxy, which is trusted too
        (["6.6.6.6, 203.0.113.9, 10.9.9.9 ,192.0.2.7"], "203.0.113.9"),
        (["10.9.9.9"], "10.9.9.9"),
        (["2001:db8:2:3:4::5"], "2001:db8:2:3::/64"),
        (["203.0.113.9, rubbish"], "unknown"),
        ([""], "unknown"),
        ([], "10.0.0.1"),
    ],
)
def test_a_trusted_proxy_tells_who_it_was(forwarded: list[str], place: str) -> None:
    assert client_of("ipv4:10.0.0.1:50123", frozenset(), forwarded, EDGE) == place
    if forwarded:
        assert client_of("ipv4:172.18.0.5:50123", frozenset({"localhost", "envoy"}), forwarded, EDGE) == place
        assert client_of("ipv4:172.18.0.5:50123", frozenset({"localhost"}), forwarded, EDGE) == "172.18.0.5"


@given(forwarded=st.lists(st.text(max_size=40), max_size=4), peer=st.text(max_size=40))
def test_whatever_is_sent_there_is_a_place(forwarded: list[str], peer: str) -> None:
    assert client_of(peer, frozenset({"envoy"}), forwarded, Proxies(names=frozenset({"envoy"})))
