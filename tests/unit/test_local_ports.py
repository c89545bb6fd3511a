"""Which ports a stack gets, and what is said of those that it cannot have."""

import socket
from collections.abc import Mapping

import pytest

from local.database import SERVICES
from local.ports import METRICS, PORTS, BadPorts, chosen_ports, free_ports, metrics_ports, refuse_shared, refuse_taken


@pytest.mark.parametrize(
    ("text", "ports", "metrics"),
    [
        ("", {}, {}),
        ("bookings=6052", {"bookings": 6052}, {"bookings": 7052}),
        ("identity=1 payments=64535", {"identity": 1, "payments": 64535}, {"identity": 1001, "payments": 65535}),
        ("bookings=0", {"bookings": 0}, {"bookings": 0}),
    ],
)
def test_metrics_move_with_the_port_that_is_chosen(text: str, ports: Mapping[str, int], metrics: Mapping[str, int]) -> None:
    assert chosen_ports(text) == {**PORTS, **ports}
    assert metrics_ports(chosen_ports(text)) == {**METRICS, **metrics}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bookings=99999", "'bookings=99999': the highest is 64535"),
        ("bookings=64536", "the highest is 64535"),
        ("bookings=" + "9" * 5_000, "the highest is 64535"),
        ("bookings=-1", "is not like bookings=6052"),
        ("bookings=٣٣٣٣", "is not like bookings=6052"),
        ("bookings=", "is not like bookings=6052"),
        ("orders=6052", "services are identity, bookings, payments"),
        ("6052", "is not like bookings=6052"),
    ],
)
def test_what_is_no_port_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(BadPorts) as refusal:
        chosen_ports(text)
    assert str(refusal.value).startswith("PORTS: ")
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bookings=6052 payments=6052", "bookings and payments would both listen on 6052"),
        ("bookings=50051", "identity and bookings would both listen on 50051"),
        ("bookings=6052 payments=7052", "payments and metrics of bookings would both listen on 7052"),
        ("payments=8051", "metrics of identity and metrics of payments would both listen on 9051"),
    ],
)
def test_two_on_one_port_are_one_sentence(text: str, said: str) -> None:
    ports = chosen_ports(text)
    with pytest.raises(BadPorts, match=said):
        refuse_shared(ports, metrics_ports(ports))


def test_any_number_of_them_may_have_any_port() -> None:
    ports = dict.fromkeys(SERVICES, 0)
    refuse_shared(ports, metrics_ports(ports))


def test_a_port_that_is_taken_is_named_with_another_one() -> None:
    [free, other] = free_ports(2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadPorts, match=rf"port {port}, which bookings listens on, is taken .* make up PORTS=bookings=\d+$"):
            refuse_taken({"bookings": port}, {"bookings": free})
        with pytest.raises(BadPorts, match=rf"port {port}, where bookings serves metrics, is taken .* make up PORTS=bookings=\d+$"):
            refuse_taken({"bookings": free}, {"bookings": port})
    refuse_taken({"bookings": free}, {"bookings": other})
