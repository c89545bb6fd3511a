"""What is measured of lists, each as something that can be done in every round."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from teppan.bookings.v1 import bookings_pb2 as pb

from local.postgres import binaries
from tests.bench.arena import DATABASE, Ground, Measure
from tests.bench.peers import calls, copying, load
from tests.bench.peers.answers import Wrong
from tests.bench.peers.cpu import Account, busy, spent
from tests.bench.peers.load import Check
from tests.bench.peers.raw import Call, Measured, received
from tests.bench.peers.seed import BIG
from tests.bench.peers.servers import Running

PAGE_ROWS, SMALL_ROWS = 1_000, 50
FIRST_PAGES = {rows: f"first page of {rows:,}, one caller" for rows in (100, 1_000)}
TOKENS_DIFFER = 0.01
"""The share of its bytes by which an answer may differ from the first: tokens are not all equally long."""
PER_SECOND, PACED_SHARE = 20, 2
"""Of GetBooking beside streams, for so many times as long as the others: few calls, beside what a server can do."""
PARTS = 4
"""A list that is shorter than that many pages has smaller ones, where the end is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server that is measured."""

    name: str
    running: Running
    http: bool = False


async def copied(ground: Ground) -> Measured:
    """Measures psql's COPY of the same rows."""
    with spent(ground.backends) as taken:
        done = await copying.copy(
            binaries(ground.postgres.version) / "psql", ground.server.url(DATABASE), BIG, rows=ground.right.count
        )
    milliseconds = done.seconds * 1000
    return Measured(
        client="psql", done=1, failed=0, seconds=done.seconds, bytes=0, rows=done.rows, p50_ms=milliseconds, p99_ms=milliseconds,
        cpu_seconds=taken.seconds,
    )  # fmt: skip


async def streamed(ground: Ground, peer: Peer) -> Measure:
    """Returns what measures the whole list; what it answers is looked at once, before."""
    whole = ground.right.whole()
    if peer.http:
        call = calls.http_export(peer.running.address, BIG, page_size=PAGE_ROWS, rows=ground.right.count)
    else:
        call = listed(ground, peer, page_size=PAGE_ROWS, rows=ground.right.count)
    first = await load.measure_stream(call, whole.http if peer.http else whole.grpc)
    accounts = ground.accounts(peer.running.pid)
    return partial(load.measure_stream, call, None, expected=first.bytes, tolerance=TOKENS_DIFFER, accounts=accounts)


def first_page(ground: Ground, peer: Peer, rows: int, seconds: float) -> Measure:
    """Returns what measures it, of one caller after whom nobody waits."""
    call = listed(ground, peer, page_size=rows, page_limit=1, rows=rows)
    return _alone(ground, peer, call, ground.right.first(rows).grpc, seconds)


async def deep(ground: Ground, peer: Peer, seconds: float) -> tuple[Measure, Measure]:
    """Returns what measures the first page of 50, and one near the end."""
    page_size = min(PAGE_ROWS, ground.right.count // PARTS)
    pages = await received(listed(ground, peer, page_size=page_size, rows=ground.right.count))
    token = pb.ListBookingsResponse.FromString(pages[-3]).next_page_token
    first, later = (
        listed(ground, peer, page_size=SMALL_ROWS, page_limit=1, rows=SMALL_ROWS, token=each) for each in ("", token)
    )  # fmt: skip
    return (
        _alone(ground, peer, first, ground.right.first(SMALL_ROWS).grpc, seconds),
        _alone(ground, peer, later, full_page, seconds),
    )


def full_page(messages: Sequence[bytes]) -> None:
    """Counts the bookings of a page of 50. Raises Wrong."""
    [message] = messages
    if (found := len(pb.ListBookingsResponse.FromString(message).bookings)) != SMALL_ROWS:
        raise Wrong(f"a page has {found} bookings, not {SMALL_ROWS}")


def beside(ground: Ground, peer: Peer, streams: int, seconds: float) -> Measure:
    """Returns what measures GetBooking by the clock, while so many streams go as fast as they can."""
    row = ground.right.rows[0]
    get = calls.get_booking(peer.running.address, BIG, row["id"], authorization=ground.bearer)
    stream = listed(ground, peer, page_size=PAGE_ROWS, rows=ground.right.count)
    measure = partial(load.measure_paced, get, ground.right.booking(row).grpc, per_second=PER_SECOND, seconds=PACED_SHARE * seconds)
    account = Account(name="server", pid=peer.running.pid)

    async def beside_streams() -> Measured:
        begun = account.seconds()
        async with load.repeated(stream, streams):
            await busy(account, begun)
            return await measure()

    return beside_streams if streams else measure


def listed(ground: Ground, peer: Peer, **asked: Any) -> Call:
    """Returns a list of the big station by gRPC."""
    return calls.list_bookings(peer.running.address, BIG, authorization=ground.bearer, **asked)


def _alone(ground: Ground, peer: Peer, call: Call, check: Check, seconds: float) -> Measure:
    accounts = ground.accounts(peer.running.pid)
    return partial(load.measure, call, check, clients=1, seconds=seconds, tolerance=TOKENS_DIFFER, accounts=accounts)
