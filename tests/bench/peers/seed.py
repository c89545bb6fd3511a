"""Fills the schema bookings for a bench: one big station, 49 others with half as much again between them.

Set-based SQL writes it past the triggers, in the order of `create_time`, so that the order of the heap is not that of a list. What is
left is what every constraint and trigger would have accepted; `test_peers` asks them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from dbcommon.references import Known
from tests.bench.creates import ID_OF
from tests.readiness import caught_up

BOOKINGS = 400_000
OTHERS = 49
OTHERS_SHARE = 1.5
"""Bookings of all other stations, for one of the big station."""
EPOCH = UUID(int=0xB0)
BIG = UUID(int=1)
ZONE, CURRENCY = "Europe/Berlin", "EUR"
STARTS = (12, 15, 18, 21)
"""Local hours at which a slot begins, every day, as in the default week."""
LENGTH_MINUTES = 180
DAYS_PAST, DAYS_AHEAD = 1_000, 300
LEAD_DAYS = 180
"""How long before its start a booking is made at most, and a third of that on average, less the two days of lead time."""
CAPACITY = 30_000
"""Of each slot: no bench of creates fills one."""
CUSTOMERS_SHARE = 20
"""One customer has as many bookings on average."""
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
NAMES = ("Ann Example", "Bo Example", "Cem Beispiel", "Dagmar Müller-Lüdenscheidt", "Eli", "Fatma Öztürk", "Gus", "山田花子")
SETTINGS = """SET LOCAL session_replication_role = replica; SET LOCAL jit = off;
    SET LOCAL work_mem = '256MB'; SET LOCAL maintenance_work_mem = '256MB'"""
INDEXES = """SELECT indexname AS name, indexdef AS definition FROM pg_indexes WHERE schemaname = 'bookings' AND tablename = 'bookings'
    AND indexname NOT IN (SELECT conname FROM pg_constraint)"""
"""Those that are quicker made anew than kept up; primary and unique keys stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """What is there."""

    stations: list[UUID]
    """The big one first."""
    bookings: int
    """Of the big station."""
    others: int
    """Of each other station."""


async def seed(url: str, *, bookings: int = BOOKINGS, epoch: UUID = EPOCH, now: datetime | None = None) -> Seeded:
    """Fills a migrated database; `url` is a superuser's. `epoch` is of the feeds that the rows were heard from.

    What refers to stations can be written until that server is started again: then the feed of identity has to be followed.
    """
    now = now or datetime.now(UTC)
    seeded = Seeded(
        stations=[UUID(int=number + 1) for number in range(OTHERS + 1)],
        bookings=bookings,
        others=int(bookings * OTHERS_SHARE / OTHERS),
    )
    connection = await asyncpg.connect(url, timeout=10, command_timeout=600)
    try:
        async with connection.transaction():
            await connection.execute(SETTINGS)
            indexes = await connection.fetch(INDEXES)
            await connection.execute(";".join(f"DROP INDEX bookings.{index['name']}" for index in indexes))
            for statement in _statements(seeded, epoch, now):
                await connection.execute(statement)
            await connection.execute(";".join(index["definition"] for index in indexes))
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return seeded


def _statements(seeded: Seeded, epoch: UUID, now: datetime) -> list[str]:
    at = f"'{now.isoformat()}'::timestamptz"
    return [
        caught_up("bookings", "identity", epoch),
        f"""INSERT INTO bookings.known_stations (id, epoch, version, state, code, time_zone, currency_code)
            SELECT {ID_OF.format("s")}, '{epoch}', 1, {Known.OPEN:d}, 'S' || s, '{ZONE}', '{CURRENCY}' FROM generate_series(1, {OTHERS + 1}) s""",
        f"INSERT INTO bookings.schedules (station_id, version, update_time) SELECT id, 1, {at} FROM bookings.known_stations",
        f"""INSERT INTO bookings.schedule_slots (station_id, weekday, local_start, length_minutes, capacity)
            SELECT id, weekday, make_time(hour, 0, 0), {LENGTH_MINUTES}, {CAPACITY}
            FROM bookings.known_stations, generate_series(1, 7) weekday, unnest(ARRAY{list(STARTS)}) hour""",
        _customers(seeded, at),
        _drafts(seeded, at),
        _slots(),
        _bookings(seeded, epoch, at),
        _price_lines(),
        "DROP TABLE draft",
    ]


def _sizes(seeded: Seeded) -> str:
    """How many bookings a station `s` has."""
    return f"CASE s WHEN 1 THEN {seeded.bookings} ELSE {seeded.others} END"


def _customer(number: str) -> str:
    return f"md5('customer ' || s || ' ' || {number})::uuid"


def _customers(seeded: Seeded, at: str) -> str:
    names = ", ".join(f"'{name}'" for name in NAMES)
    return f"""INSERT INTO bookings.customers (station_id, id, name, email, email_index, version, create_time, update_time)
        SELECT {ID_OF.format("s")}, {_customer("c")}, (ARRAY[{names}])[1 + c % {len(NAMES)}], sha256(convert_to(s || ' ' || c, 'UTF8')),
               sha256(convert_to('index ' || s || ' ' || c, 'UTF8')), 1, {at} - interval '1300 days', {at} - interval '1300 days'
        FROM generate_series(1, {OTHERS + 1}) s, generate_series(0, ({_sizes(seeded)}) / {CUSTOMERS_SHARE}) c"""


def _drafts(seeded: Seeded, at: str) -> str:
    """What chance decides of each booking, once: where, when, who, how it stands. `u` and `v` are from 0 to 1."""
    state = """CASE WHEN start_time < {at} THEN CASE WHEN v < 0.80 THEN 6 WHEN v < 0.92 THEN 7 WHEN v < 0.97 THEN 8 ELSE 9 END
                    ELSE CASE WHEN v < 0.85 THEN 4 WHEN v < 0.88 THEN 2 ELSE 7 END END"""
    made = f"""CASE WHEN state = 2 THEN {{at}} - u * interval '2 hours'
                   ELSE least(start_time - interval '2 days' - u * u * interval '{LEAD_DAYS} days', {{at}} - u * interval '30 days') END"""
    return f"""CREATE TEMPORARY TABLE draft AS
        WITH placed AS MATERIALIZED (
            SELECT s, n, random() AS u, random() AS v, random() AS w, random() AS x,
                   ({at} AT TIME ZONE '{ZONE}')::date - {DAYS_PAST} + floor(random() * {DAYS_PAST + DAYS_AHEAD})::int AS day,
                   make_time((ARRAY{list(STARTS)})[1 + floor(random() * {len(STARTS)})::int], 0, 0) AS start
            FROM generate_series(1, {OTHERS + 1}) s, generate_series(1, {_sizes(seeded)}) n
            -- what begins within the lead time is not there: a booking of it would have been made before
        ), timed AS (
            SELECT *, ((CASE WHEN day BETWEEN ({at} AT TIME ZONE '{ZONE}')::date - 1 AND ({at} AT TIME ZONE '{ZONE}')::date + 3
                             THEN day + 5 ELSE day END) + start) AT TIME ZONE '{ZONE}' AS start_time FROM placed
        ), stated AS (SELECT *, ({state.format(at=at)})::smallint AS state FROM timed
        ), counted AS (
            SELECT *, date_trunc('milliseconds', {made.format(at=at)}) + floor(x * 1000) * interval '1 microsecond' AS made,
                   (2 + floor(u * v * 14))::smallint AS adults, (CASE WHEN w < 0.3 THEN floor(w * 10) ELSE 0 END)::smallint AS children,
                   (CASE WHEN x < 0.1 THEN 1 ELSE 0 END)::smallint AS infants FROM stated)
        SELECT s, n, u, v, w, start_time, state, made, adults, children, infants, (start_time AT TIME ZONE '{ZONE}')::date AS slot_date,
               start AS slot_start, greatest(55000, adults * 5500 + children * 3000)::bigint AS total, row_number() OVER (ORDER BY made, x) AS number,
               {ID_OF.format("s")} AS station_id, (lpad(to_hex((extract(epoch FROM made) * 1000)::bigint), 12, '0') || '7'
                || substr(md5(s || ' ' || n), 1, 3) || '8' || substr(md5(s || ' ' || n), 4, 15))::uuid AS id FROM counted"""


def _slots() -> str:
    return f"""INSERT INTO bookings.slots (station_id, local_date, local_start, start_time, end_time, capacity, taken)
        SELECT station_id, slot_date, slot_start, start_time, start_time + interval '{LENGTH_MINUTES} minutes', {CAPACITY}, count(*) FILTER (WHERE state BETWEEN 1 AND 5)
        FROM draft GROUP BY station_id, slot_date, slot_start, start_time ORDER BY start_time"""


def _bookings(seeded: Seeded, epoch: UUID, at: str) -> str:
    """A number that is odd permutes those below 2^40, so no reference is there twice."""
    characters = " || ".join(
        f"substr('{ALPHABET}', 1 + ((((number * 618970019) & 1099511627775) >> {5 * k}) & 31)::int, 1)" for k in range(8)
    )
    names = ", ".join(f"'{name}'" for name in NAMES)
    paid = "CASE WHEN state IN (4, 6, 9) THEN CASE WHEN w < 0.4 THEN total ELSE 10000 END ELSE 0 END"
    deadline = "least(made + interval '24 hours', start_time - interval '48 hours')"
    confirmed, cancelled = f"least(made + u * interval '3 hours', {at})", f"made + u * (least(start_time, {at}) - made)"
    changed = f"""CASE state WHEN 2 THEN made WHEN 4 THEN {confirmed} WHEN 7 THEN {cancelled} WHEN 8 THEN {deadline}
                  ELSE start_time + interval '{LENGTH_MINUTES} minutes' END"""
    return f"""INSERT INTO bookings.bookings (station_id, id, reference, customer_id, state, slot_date, slot_start, start_time, end_time,
            time_zone, adults, children, infants, currency_code, total_minor, deposit_minor, paid_minor, paid_epoch, paid_version,
            policy_version, requests, deposit_deadline_time, created_by, created_by_name, confirm_time, cancel_time, cancelled_by,
            refund_basis_points, version, create_time, update_time)
        SELECT station_id, id, 'TP-' || {characters}, {_customer(f"n % (({_sizes(seeded)}) / {CUSTOMERS_SHARE} + 1)")},
               state, slot_date, slot_start, start_time, start_time + interval '{LENGTH_MINUTES} minutes', '{ZONE}', adults, children, infants, '{CURRENCY}', total, 10000,
               {paid}, CASE WHEN state IN (4, 6, 9) THEN '{epoch}'::uuid END, CASE WHEN state IN (4, 6, 9) THEN 1 ELSE 0 END,
               1, CASE WHEN u < 0.3 THEN 'A table at the window, please; one guest does not eat nuts.' ELSE '' END, {deadline},
               CASE WHEN w < 0.7 THEN md5('user ' || n % 500)::uuid END, (ARRAY[{names}])[1 + n % {len(NAMES)}],
               CASE WHEN state IN (4, 6, 9) THEN {confirmed} END, CASE WHEN state = 7 THEN {cancelled} END,
               CASE WHEN state = 7 THEN 1 + (w < 0.2)::int END, CASE WHEN state = 7 THEN (ARRAY[0, 5000, 10000])[1 + n % 3] WHEN state = 8 THEN 10000 END,
               CASE state WHEN 2 THEN 1 WHEN 4 THEN 2 WHEN 7 THEN 2 ELSE 3 END, made, {changed}
        FROM draft ORDER BY number"""


def _price_lines() -> str:
    return """INSERT INTO bookings.price_lines (station_id, booking_id, line, kind, quantity, unit_minor, amount_minor)
        SELECT station_id, id, row_number() OVER (PARTITION BY number ORDER BY place) - 1, kind, quantity, unit, quantity * unit
        FROM draft, LATERAL (VALUES (0, 'adults', adults, 5500), (1, 'children', children, 3000), (2, 'infants', infants, 0),
            (3, 'minimum', (total > adults * 5500 + children * 3000)::int, (total - adults * 5500 - children * 3000)::int)) l (place, kind, quantity, unit)
        WHERE quantity > 0 ORDER BY number, place"""
