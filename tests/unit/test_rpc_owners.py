"""Counting, registering, streaming: what an owner and those who refer to its things ask each other."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import grpc
import pytest
from teppan.common.v1 import references_pb2 as pb
from teppan.common.v1 import references_pb2_grpc

from faults import FeedStale, NotClosedYet, PeerUnavailable, PurgeUnfinished
from referring import Column, Rule
from rpccommon.feed import CURSOR, Registered
from rpccommon.references import Counter, registration
from tests.unit.rpc_owned import EPOCH, NOT_FOUND, OPEN, Source, servicer, tokens
from tests.unit.rpc_stage import Stage, details, stage

STATIONS, THING = "identity.Station", UUID(int=1)


def column(name: str, rule: Rule = Rule.RESTRICT, *, service: str = "bookings", type: str = STATIONS) -> Column:
    return Column(service=service, table="bookings", name=name, type=type, rule=rule)


class Referrer:
    """Counts three of one column, unless it is told otherwise."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.asked: list[tuple[str, UUID, UUID, int]] = []

    async def count(self, type: str, id: UUID, *, epoch: UUID, version: int) -> Sequence[tuple[Column, int]]:
        self.asked.append((type, id, epoch, version))
        if self.fault:
            raise self.fault
        return [(column("station_id"), 3), (column("user_id", Rule.NULLIFY), 0)]


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def referrer() -> Referrer:
    return Referrer()


@pytest.fixture
async def on(source: Source, referrer: Referrer) -> AsyncIterator[Stage]:
    async with stage(servicer(source, referrer)) as running:
        yield running


def stub(on: Stage) -> Any:
    return references_pb2_grpc.ReferencesServiceStub(on.peer.channel)


async def asked(on: Stage) -> Any:
    return await Counter(on.peer).count(STATIONS, THING, epoch=EPOCH, version=4)


async def test_what_is_left_is_counted_by_column_with_its_rule(on: Stage, referrer: Referrer) -> None:
    assert await asked(on) == {"bookings.station_id": 3, "bookings.user_id": 0}
    assert referrer.asked == [(STATIONS, THING, EPOCH, 4)]
    request = pb.CountReferencesRequest(type=STATIONS, id=str(THING), epoch=str(EPOCH), version=4)
    counts = (await on.peer.call(stub(on).CountReferences, request, timeout=5)).counts
    assert [(each.column, Rule(each.on_delete), each.count) for each in counts] == [
        ("bookings.station_id", Rule.RESTRICT, 3), ("bookings.user_id", Rule.NULLIFY, 0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("says", "heard"),
    [
        (NotClosedYet("not yet"), NotClosedYet),
        (FeedStale("too old", feed="identity"), PeerUnavailable),
        (PurgeUnfinished("no"), PeerUnavailable),
        (AssertionError("a bug"), PeerUnavailable),
    ],
)
async def test_whatever_is_no_answer_is_a_fault_and_never_0(
    on: Stage, referrer: Referrer, says: Exception, heard: type[Exception]
) -> None:
    referrer.fault = says
    with pytest.raises(heard):
        await asked(on)


async def test_an_unknown_method_is_a_peer_that_does_not_answer() -> None:
    async with stage() as without:
        with pytest.raises(PeerUnavailable):
            await asked(without)


async def test_who_refers_to_nothing_answers_no_column(source: Source) -> None:
    async with stage(servicer(source)) as nothing:
        assert await asked(nothing) == {}


async def test_a_service_registers_what_the_contract_says_it_refers_to_that_peer_by(on: Stage, source: Source) -> None:
    declared = [
        column("station_id", type="test.Station"), column("user_id", Rule.NULLIFY, type="test.User"),
        column("created_by", Rule.KEEP, type="test.User"), column("booking_id", type="bookings.Booking"),
        column("station_id", service="payments", type="test.Station"),
    ]  # fmt: skip
    register = registration(on.peer, "bookings", declared)
    assert await register() == Registered(columns=["bookings.station_id", "bookings.user_id"])
    assert source.registered == [declared[:2]], "without those that may dangle, of others, and to others"
    assert await registration(on.peer, "identity", declared)() == Registered(columns=[])
    assert len(source.registered) == 1, "who refers to nothing does not ask"


async def test_what_a_purge_keeps_back_keeps_no_other_column_from_being_registered(on: Stage, source: Source) -> None:
    declared = [column("station_id", type="test.Station"), column("voucher_id", type="test.Voucher")]
    source.kept_back = {"test.Voucher"}
    register = registration(on.peer, "bookings", declared)
    assert await register() == Registered(columns=["bookings.station_id"], complete=False)
    source.kept_back.clear()
    assert await register() == Registered(columns=["bookings.station_id", "bookings.voucher_id"])
    source.fault = FeedStale("its relay has not begun", feed="test")
    with pytest.raises(PeerUnavailable):
        await register()


async def test_who_registers_speaks_for_itself_and_hears_the_head(on: Stage, source: Source) -> None:
    columns = [pb.ReferrerColumn(type=STATIONS, column="slots.station_id", on_delete=Rule.CASCADE.value)]  # type: ignore[arg-type]  # a number of that enum
    answer = await on.peer.call(stub(on).RegisterReferrer, pb.RegisterReferrerRequest(columns=columns), timeout=5)
    assert (answer.epoch, answer.position) == (str(EPOCH), 7)
    [[registered]] = source.registered
    assert registered == Column(service="bookings", table="slots", name="station_id", type=STATIONS, rule=Rule.CASCADE)


@pytest.mark.parametrize("name", ["station_id", ".station_id", "slots."])
async def test_a_column_without_its_table_is_refused_by_name(on: Stage, source: Source, name: str) -> None:
    columns = [pb.ReferrerColumn(type=STATIONS, column=name, on_delete=Rule.CASCADE.value)]  # type: ignore[arg-type]  # a number of that enum
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stub(on).RegisterReferrer(
            pb.RegisterReferrerRequest(columns=columns), metadata=on.peer._metadata()
        )  # as a service calls
    info, bad, _ = details(refusal.value)
    assert (info.reason, bad.field_violations[0].field) == ("FIELDS_INVALID", "columns[0].column")
    assert not source.registered


async def streamed(on: Stage, **request: Any) -> list[pb.StreamReferentsResponse]:
    call = stub(on).StreamReferents(
        pb.StreamReferentsRequest(type=STATIONS, **request), metadata=on.peer._metadata()
    )  # as a service calls
    return [message async for message in call]


async def test_a_stream_has_every_thing_once_and_says_when_nothing_follows(on: Stage, source: Source) -> None:
    for after in (0, 3):
        messages = await streamed(on, after_id=str(UUID(int=after)) if after else "")
        assert [UUID(each.id).int for message in messages for each in message.referents] == list(range(after + 1, source.last + 1))
        assert [message.complete for message in messages] == [False] * (len(messages) - 1) + [True]


async def test_every_message_of_a_stream_has_the_head_and_its_cursor_as_the_feed_signs_it(on: Stage) -> None:
    for message in await streamed(on):
        assert (message.epoch, message.position) == (str(EPOCH), 7)
        assert tokens().open(CURSOR, message.cursor) == {"epoch": str(EPOCH), "position": 7}


async def test_a_stream_shows_what_a_check_shows(on: Stage, source: Source) -> None:
    source.last = 10
    items = [pb.ReferenceItem(id=str(UUID(int=number))) for number in range(1, 11)]
    checked = await on.peer.call(stub(on).CheckReferences, pb.CheckReferencesRequest(type=STATIONS, items=items), timeout=5)
    shown = [each.answer for message in await streamed(on) for each in message.referents]
    assert shown == list(checked.answers)
    assert [each.state for each in shown] == [OPEN] * 9 + [NOT_FOUND]


async def test_a_page_that_is_too_large_is_cut_and_only_its_last_part_is_complete(
    on: Stage, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpccommon.references.servicing.MESSAGE_BYTES_MAX", 300)
    source.size = 9
    messages = await streamed(on)
    assert len(messages) > 1
    assert [UUID(each.id).int for message in messages for each in message.referents] == list(range(1, 10))
    assert [message.complete for message in messages] == [False] * (len(messages) - 1) + [True]
