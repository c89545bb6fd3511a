"""Events that could not be applied, set aside: what fails is tried again, and parked after its tenth attempt; its entity waits.

A lane is what lies aside of one entity, in order. Only its head is ever tried; what comes later waits behind it. Whoever
changes a lane holds the row of `feed_state`, as the consumer does that moves the cursor: see `replay` for who that is.
An event that lies aside is one that has not arrived yet: docs/decisions.md says what follows from that.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)  # fmt: skip

from dbcommon.attempts import Failure
from dbcommon.database import Transaction
from dbcommon.schema import Access
from dbcommon.statements import Row

ATTEMPTS_MAX = 10
"""Then nothing tries it again but on request."""
PAUSE_SECONDS = 1.0
"""After the first attempt; twice as long after each further one."""
PAUSE_SECONDS_MAX = 60.0
ASIDE_MAX = 10_000
"""Of one owner's events: where more fail, it is not the events. The feed waits at its cursor then."""

ACCESS = {
    "parked_events": Access(platform=("SELECT", "INSERT", "UPDATE", "DELETE")),
    "dropped_events": Access(platform=("SELECT", "INSERT")),
}
STATE = "CASE WHEN parked_time IS NOT NULL THEN 'parked' WHEN next_attempt_time IS NOT NULL THEN 'retried' ELSE 'waiting' END"
EVENT = "owner, event_id, type, entity_id, station_id, epoch, position, version, event"
FAILED = "attempts, first_failed_time, error_class, error_sentence"


class TooManyFail(Exception):
    """So many events lie aside that something else must be wrong: the feed goes no further."""


class Lane(NamedTuple):
    """Where the events of one entity wait for each other."""

    owner: str
    type: str
    entity_id: UUID


def lane_of(row: Row) -> Lane:
    """The lane that a row names."""
    return Lane(row.owner, row.type, row.entity_id)


def tables(metadata: MetaData) -> None:
    """Adds `parked_events`, and the journal of those that were given up, to a consumer's schema."""
    head = "next_attempt_time IS NOT NULL OR parked_time IS NOT NULL"
    Table(
        "parked_events",
        metadata,
        Column("seq", BigInteger, Identity(always=True, cache=1), primary_key=True),
        *_event_columns(),
        _time("aside_time", nullable=False, server_default=text("now()")),
        _time("next_attempt_time"),
        _time("parked_time"),
        CheckConstraint("next_attempt_time IS NULL OR parked_time IS NULL", name="parked_time"),
        Index("parked_events_lane_idx", "owner", "entity_id", "type", "seq"),
        Index("parked_events_head_idx", "owner", "entity_id", "type", unique=True, postgresql_where=text(head)),
    )
    Table(
        "dropped_events",
        metadata,
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        *_event_columns(),
        _time("drop_time", nullable=False),
        Column("dropped_by", Text, nullable=False),
        Column("reason", Text, nullable=False),
    )


def _event_columns() -> list[Column[Any]]:
    return [
        Column("owner", Text, nullable=False),
        Column("event_id", Uuid, nullable=False),
        Column("type", Text, nullable=False),
        Column("entity_id", Uuid, nullable=False),
        Column("station_id", Uuid),
        Column("epoch", Uuid, nullable=False),
        Column("position", BigInteger, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("event", LargeBinary, nullable=False),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        _time("first_failed_time"),
        Column("error_class", Text),
        Column("error_sentence", Text),
    ]


def _time(name: str, *, nullable: bool = True, server_default: Any = None) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=server_default)


def lies_aside(service: str, owner: str, entity: str) -> str:
    """The SQL condition that something of an entity lies aside; `entity` is an expression."""
    return f"EXISTS (SELECT FROM {service}.parked_events p WHERE p.owner = '{owner}' AND p.entity_id = {entity})"


async def lock(tx: Transaction, service: str, owner: str) -> None:
    """Keeps everybody else out who applies the owner's events; the consumer does so by moving the cursor."""
    await tx.execute(f"SELECT FROM {service}.feed_state WHERE owner = :owner FOR NO KEY UPDATE", {"owner": owner})


async def among(tx: Transaction, service: str, owner: str, ids: Collection[UUID]) -> set[UUID]:
    """Those of the entities of which something lies aside: no answer must overtake it."""
    found = f"SELECT DISTINCT entity_id FROM {service}.parked_events WHERE owner = :owner AND entity_id = ANY(:ids)"
    return set((await tx.execute(found, {"owner": owner, "ids": list(ids)})).column())


async def lanes(tx: Transaction, service: str, owner: str, events: Sequence[Any]) -> set[Lane]:
    """The lanes of these events' entities that have something in them."""
    found = f"SELECT DISTINCT owner, type, entity_id FROM {service}.parked_events WHERE owner = :owner AND entity_id = ANY(:ids)"
    ids = list({UUID(event.entity_id) for event in events})
    return {lane_of(row) for row in await tx.execute(found, {"owner": owner, "ids": ids})}


async def put(tx: Transaction, service: str, lane: Lane, event: Any, content: bytes, failure: Failure | None) -> None:
    """Puts an event at the end of its lane: at its head with the failure of its first attempt, or behind others. TooManyFail."""
    count = f"SELECT count(*) FROM {service}.parked_events WHERE owner = :owner"
    if (await tx.execute(count, {"owner": lane.owner})).value() >= ASIDE_MAX:
        raise TooManyFail(
            f"{ASIDE_MAX} events of {lane.owner} lie aside: its feed waits until they are replayed or dropped (events list, replay --all, drop --error)"
        )
    insert = (
        f"INSERT INTO {service}.parked_events ({EVENT}, {FAILED}, next_attempt_time)"
        " VALUES (:owner, :event_id, :type, :entity_id, :station_id, :epoch, :position, :version, :event,"
        " CASE WHEN :failed THEN 1 ELSE 0 END, CASE WHEN :failed THEN now() END, :error_class, :error_sentence,"
        " CASE WHEN :failed THEN now() + make_interval(secs => :pause) END)"
    )
    values = {
        **lane._asdict(), "event_id": UUID(event.event_id), "station_id": UUID(event.station_id) if event.station_id else None,
        "epoch": UUID(event.epoch), "position": event.position, "version": event.version, "event": content,
        "failed": failure is not None, "pause": PAUSE_SECONDS, **_said(failure),
    }  # fmt: skip
    await tx.execute(insert, values)


async def first(tx: Transaction, service: str, lane: Lane, limit: int) -> Sequence[Row]:
    """The first events of a lane, in order; the head tells whether it is `due`."""
    select = (
        f"SELECT seq, event_id, event, attempts, parked_time, next_attempt_time <= now() AS due FROM {service}.parked_events"
        " WHERE owner = :owner AND type = :type AND entity_id = :entity_id ORDER BY seq LIMIT :limit"
    )
    return await tx.execute(select, {**lane._asdict(), "limit": limit})


async def take(tx: Transaction, service: str, seq: int) -> None:
    """Removes an event that was applied in this transaction."""
    await tx.execute(f"DELETE FROM {service}.parked_events WHERE seq = :seq", {"seq": seq})


async def fail(tx: Transaction, service: str, row: Row, failure: Failure) -> bool:
    """Counts an attempt that failed; whether that was the one after which the event is parked."""
    parks = row.parked_time is None and row.attempts + 1 >= ATTEMPTS_MAX
    update = (
        f"UPDATE {service}.parked_events SET attempts = attempts + 1, first_failed_time = coalesce(first_failed_time, now()),"
        " error_class = :error_class, error_sentence = :error_sentence,"
        " parked_time = CASE WHEN :parks THEN now() ELSE parked_time END,"
        " next_attempt_time = CASE WHEN NOT :parks AND parked_time IS NULL THEN now() + make_interval(secs => :pause) END"
        " WHERE seq = :seq"
    )
    pause = min(PAUSE_SECONDS * 2.0**row.attempts, PAUSE_SECONDS_MAX)
    await tx.execute(update, {"seq": row.seq, "parks": parks, "pause": pause, **_said(failure)})
    return parks


async def wake(tx: Transaction, service: str, lane: Lane) -> None:
    """Has the head of a lane tried at once, unless its time is set already or it is parked: what was before it is gone."""
    update = (
        f"UPDATE {service}.parked_events SET next_attempt_time = now() WHERE next_attempt_time IS NULL AND parked_time IS NULL"
        f" AND seq = (SELECT min(seq) FROM {service}.parked_events"
        " WHERE owner = :owner AND type = :type AND entity_id = :entity_id)"
    )
    await tx.execute(update, lane._asdict())


async def drop(tx: Transaction, service: str, seq: int, *, by: str, reason: str) -> bool:
    """Moves an event to the journal; whether it was still there."""
    move = (
        f"WITH gone AS (DELETE FROM {service}.parked_events WHERE seq = :seq RETURNING *)"
        f" INSERT INTO {service}.dropped_events (seq, {EVENT}, {FAILED}, drop_time, dropped_by, reason)"
        f" SELECT seq, {EVENT}, {FAILED}, now(), :by, :reason FROM gone RETURNING seq"
    )
    return (await tx.execute(move, {"seq": seq, "by": by, "reason": reason})).first() is not None


async def forget(tx: Transaction, service: str, owner: str, type: str, ids: Sequence[UUID]) -> None:
    """Removes what lies aside of these things: their present state takes its place in this transaction."""
    delete = f"DELETE FROM {service}.parked_events WHERE owner = :owner AND type = :type AND entity_id = ANY(:ids)"
    await tx.execute(delete, {"owner": owner, "type": type, "ids": list(ids)})


async def void(tx: Transaction, service: str, owner: str, epoch: UUID) -> None:
    """Moves to the journal what lies aside of other epochs: of things that their owner does not know any more."""
    move = (
        f"WITH gone AS (DELETE FROM {service}.parked_events WHERE owner = :owner AND epoch <> :epoch RETURNING *)"
        f" INSERT INTO {service}.dropped_events (seq, {EVENT}, {FAILED}, drop_time, dropped_by, reason)"
        f" SELECT seq, {EVENT}, {FAILED}, now(), 'resynchronisation', 'its owner has no such thing any more' FROM gone"
    )
    await tx.execute(move, {"owner": owner, "epoch": epoch})


def _said(failure: Failure | None) -> dict[str, str | None]:
    return {"error_class": failure.name if failure else None, "error_sentence": failure.sentence if failure else None}
