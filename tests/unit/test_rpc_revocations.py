"""Whose tokens are good no longer: in order, over breaks and restarts, as long as a token lives, and not longer."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from teppan.common.v1 import references_pb2

from clocks import SKEW_SECONDS
from faults import CursorDiverged, CursorExpired, CursorInvalid, Fault, FeedStale, PeerUnavailable, TokenInvalid
from identity.domain.logins import TOKEN_LIFETIME
from rpccommon.auth import ServiceToken, Verifier
from rpccommon.revocations import ACCESS_TOKEN_SECONDS, REMEMBERED, STALE_SECONDS
from tests.unit.rpc_identity import ANN, NOON, Clock, Identity, Process, at, process
from tests.unit.rpc_stage import SERVICE_KEY, USER_KEY, bearer, fixed_keys, user

OPEN, CLOSED, PURGED = (
    references_pb2.REFERENT_STATE_OPEN,
    references_pb2.REFERENT_STATE_CLOSED,
    references_pb2.REFERENT_STATE_PURGED,
)
BO = "019a0000-0000-7000-8000-00000000000b"
SKEW = SKEW_SECONDS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def identity(clock: Clock) -> Identity:
    return Identity(clock)


@pytest.fixture
async def on(clock: Clock, identity: Identity) -> AsyncIterator[Process]:
    async with process(clock, identity) as started:
        await started.revocations.applied.wait()
        yield started


async def heard(on: Process) -> None:
    """Waits until all was taken that identity has told: somebody else is told of last."""
    name = f"019a0000-0000-7000-8000-{len(on.identity.events):012d}"
    on.identity.tell(name, CLOSED)
    await on.until(lambda: on.refused(NOON, name))


async def test_who_is_closed_is_refused_and_nobody_else(on: Process) -> None:
    assert not on.refused(NOON)
    on.identity.tell(ANN, CLOSED)
    await heard(on)
    assert on.refused(NOON)
    assert on.refused(at(3600))  # while they are closed whatever is shown, also what a clock that runs ahead has dated
    assert not on.refused(NOON, BO)


@pytest.mark.parametrize("state", [PURGED, references_pb2.REFERENT_STATE_UNSPECIFIED])
async def test_whatever_is_not_open_is_closed(on: Process, state: references_pb2.ReferentState.ValueType) -> None:
    on.identity.tell(ANN, state)
    await heard(on)
    assert on.refused(NOON)


async def test_a_token_of_before_stays_refused_when_its_user_is_enabled_and_a_later_one_is_good(on: Process) -> None:
    on.identity.tell(ANN, CLOSED, at(0))
    on.identity.tell(ANN, OPEN, at(60))
    await heard(on)
    assert on.refused(at(-1))
    assert on.refused(at(0))
    assert not on.refused(at(61))


async def test_what_was_issued_within_the_skew_of_a_closing_may_be_older_than_it(on: Process) -> None:
    on.identity.tell(ANN, CLOSED, at(0))
    on.identity.tell(ANN, OPEN, at(1))
    await heard(on)
    assert on.refused(at(SKEW))
    assert not on.refused(at(SKEW + 1))


async def test_the_last_closing_counts(on: Process) -> None:
    for seconds, state in ((0, CLOSED), (60, OPEN), (120, CLOSED), (180, OPEN)):
        on.identity.tell(ANN, state, at(seconds))
    await heard(on)
    assert on.refused(at(100))
    assert not on.refused(at(181))


async def test_a_process_begins_with_all_that_a_token_may_be_older_than(clock: Clock, identity: Identity) -> None:
    identity.tell(BO, CLOSED, NOON - REMEMBERED - timedelta(seconds=1))
    identity.tell(ANN, CLOSED, NOON - REMEMBERED)
    async with process(clock, identity) as started:
        await started.revocations.applied.wait()
        assert identity.asked == ["11:44:50"]
        assert started.refused(NOON - REMEMBERED)
        assert not started.refused(NOON - REMEMBERED, BO)


async def test_no_token_outlives_what_is_remembered(on: Process) -> None:
    assert timedelta(seconds=ACCESS_TOKEN_SECONDS) >= TOKEN_LIFETIME
    on.identity.tell(ANN, CLOSED, NOON)
    await heard(on)
    verifier = Verifier(fixed_keys("k1", USER_KEY), fixed_keys("bookings", SERVICE_KEY), on.revocations, on.clock)
    last = NOON + timedelta(seconds=SKEW)  # by a clock that runs ahead, just before the closing
    on.clock.time = last + TOKEN_LIFETIME + timedelta(seconds=SKEW)  # the last instant at which it would be taken
    await heard_at(on, on.clock.time)
    with pytest.raises(TokenInvalid, match="not valid any more"):
        await verifier.caller(bearer(user(), at=last)[0][1])


async def heard_at(on: Process, time: datetime) -> None:
    """Waits for a message of that time, at which what is old is forgotten."""
    on.identity.tell(BO, CLOSED, time)
    await on.until(lambda: on.refused(time, BO))


async def test_what_no_token_is_old_enough_for_is_forgotten(on: Process) -> None:
    on.identity.tell(ANN, CLOSED, NOON)
    await heard(on)
    on.clock.time = NOON + REMEMBERED + timedelta(seconds=1)
    await heard_at(on, on.clock.time)
    assert not on.refused(NOON)
    assert list(on.revocations._closings) == [BO]


async def test_a_break_loses_nothing_that_happened_meanwhile(on: Process, clock: Clock) -> None:
    on.identity.tell(ANN, CLOSED)
    await heard(on)
    on.identity.faults = [PeerUnavailable("away", peer="identity"), FeedStale("no epoch", feed="identity")]
    on.identity.break_off(PeerUnavailable("away", peer="identity"))
    clock.time = NOON + timedelta(hours=2)  # away for longer than anything is remembered
    on.identity.tell(BO, CLOSED)
    await on.until(lambda: on.refused(NOON, BO))
    assert on.identity.asked[1:] == ["2", "2", "2"]


async def test_an_enabling_that_was_missed_is_heard_after_the_break(on: Process) -> None:
    on.identity.tell(ANN, CLOSED, at(0))
    await heard(on)
    on.identity.break_off(PeerUnavailable("away", peer="identity"))
    on.identity.tell(ANN, OPEN, at(60))
    await on.until(lambda: not on.refused(at(61)))
    assert on.refused(at(0))


async def test_a_break_in_the_middle_of_the_beginning_skips_nothing(clock: Clock, identity: Identity) -> None:
    people = [f"019a0000-0000-7000-8000-{n:012d}" for n in range(10)]
    for person in people:
        identity.tell(person, CLOSED)
    identity.batch, identity.held_at = 2, 4
    async with process(clock, identity) as started:
        await started.until(lambda: started.refused(NOON, people[3]))
        assert not started.revocations.applied.is_set()
        identity.held_at = None
        identity.break_off(PeerUnavailable("away", peer="identity"))
        await started.revocations.applied.wait()
        assert all(started.refused(NOON, person) for person in people)
        assert identity.asked[1:] == ["4"]


@pytest.mark.parametrize(
    "fault", [CursorDiverged("restored"), CursorExpired("dropped"), CursorInvalid({"after_cursor": "signed with another key"})]
)
async def test_a_feed_that_does_not_go_on_is_begun_anew_and_takes_nothing_back(on: Process, fault: Fault) -> None:
    on.identity.tell(BO, CLOSED, at(0))
    on.identity.tell(ANN, CLOSED, at(0))
    on.identity.tell(ANN, OPEN, at(60))
    on.identity.tell(ANN, CLOSED, at(120))
    await heard(on)
    on.identity.events.pop(0)  # a backup of before it was restored
    on.identity.held_at = 2  # of the past until the enabling only, so far
    on.identity.faults = [fault]
    on.identity.break_off(PeerUnavailable("away", peer="identity"))
    await on.until(lambda: not on.refused(at(200)))
    assert on.identity.asked[1:] == ["5", "11:44:50"]
    assert on.refused(at(100))
    assert on.refused(NOON, BO)
    on.identity.let_go()
    await on.until(lambda: on.refused(at(200)))


async def test_nothing_is_called_applied_before_the_head_of_the_feed(clock: Clock, identity: Identity) -> None:
    for person in (ANN, BO):
        identity.tell(person, CLOSED)
    identity.held_at = 1
    async with process(clock, identity) as started:
        await started.until(lambda: started.refused(NOON))
        assert not started.revocations.applied.is_set()
        with pytest.raises(FeedStale):
            started.revocations.require()
        identity.let_go()
        await started.revocations.applied.wait()
        assert started.refused(NOON, BO)
        started.revocations.require()


async def test_a_process_that_hears_nothing_for_too_long_is_stale_and_stays_applied(on: Process) -> None:
    on.revocations.require()
    on.clock.time = at(STALE_SECONDS)
    on.revocations.require()
    on.clock.time = at(STALE_SECONDS + 1)
    with pytest.raises(FeedStale) as stale:
        on.revocations.require()
    assert stale.value.metadata == {"feed": "identity"}
    assert on.revocations.applied.is_set()
    await heard(on)
    on.revocations.require()


async def test_a_relay_that_stands_still_is_stale_however_much_is_said(on: Process) -> None:
    on.identity.stands_still = NOON
    on.clock.time = at(STALE_SECONDS + 1)
    await heard(on)
    with pytest.raises(FeedStale):
        on.revocations.require()


async def test_a_relay_that_stands_still_at_a_time_that_lies_ahead_is_stale_too(on: Process) -> None:
    on.identity.stands_still = at(3_600)
    await heard(on)
    on.clock.time = at(STALE_SECONDS + 1)
    await heard(on)
    with pytest.raises(FeedStale):
        on.revocations.require()


async def test_a_feed_whose_relay_is_behind_is_not_called_applied(clock: Clock, identity: Identity) -> None:
    identity.tell(ANN, CLOSED)
    identity.stands_still = at(-STALE_SECONDS - 1)
    async with process(clock, identity) as started:
        await started.until(lambda: started.refused(NOON))
        assert not started.revocations.applied.is_set()
        identity.stands_still = None
        identity.tell(BO, CLOSED)
        await started.revocations.applied.wait()


async def test_a_stream_that_has_only_begun_makes_nobody_stale(on: Process) -> None:
    on.identity.tell(ANN, CLOSED)
    on.identity.tell(BO, CLOSED)
    on.identity.held_at = 1
    on.identity.break_off(PeerUnavailable("away", peer="identity"))
    await on.until(lambda: len(on.identity.asked) == 2 and on.refused(NOON))
    on.revocations.require()


async def test_a_token_that_was_good_before_is_refused_and_a_services_is_not(on: Process) -> None:
    verifier = Verifier(fixed_keys("k1", USER_KEY), fixed_keys("bookings", SERVICE_KEY), on.revocations, on.clock)
    token, service = bearer(user(), at=NOON)[0][1], ServiceToken("bookings", SERVICE_KEY, on.clock).bearer()
    for _ in range(2):
        assert (await verifier.caller(token)).subject == ANN
    on.identity.tell(ANN, CLOSED)
    await heard(on)
    for _ in range(2):
        with pytest.raises(TokenInvalid, match="log in again"):
            await verifier.caller(token)
    assert (await verifier.caller(service)).subject == "bookings"
