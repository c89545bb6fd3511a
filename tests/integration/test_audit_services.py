"""The audit with all three services as they are: by RPC, on their own feeds and tables."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from teppan.common.v1 import audits_pb2 as pb
from teppan.common.v1 import audits_pb2_grpc, options_pb2

from local.database import SERVICES
from tests.integration.stage import Teppan, eventually, refused

Steps = list[pb.AuditReferencesResponse]


@pytest.fixture
async def rows(own: Teppan) -> AsyncIterator[asyncpg.Connection]:
    """Sees and may do everything."""
    connection = await asyncpg.connect(own.server.url(own.database))
    yield connection
    await connection.close()


def audits(teppan: Teppan, service: str) -> Any:
    return audits_pb2_grpc.AuditsServiceStub(teppan.channels[service])


async def audit(teppan: Teppan, service: str, *columns: str, repair: bool = False) -> Steps:
    """All that a service says, to its end."""
    request = pb.AuditReferencesRequest(columns=columns, repair=repair)
    steps = [step async for step in audits(teppan, service).AuditReferences(request, metadata=teppan.admin)]
    assert steps[-1].HasField("end")
    return steps


def dangling(steps: Steps) -> set[tuple[str, str, str, int]]:
    found = [step.dangling for step in steps if step.HasField("dangling")]
    assert all(abs(each.first_seen_time.ToDatetime(UTC) - datetime.now(UTC)).total_seconds() < 60 for each in found)
    return {(each.column, each.id, each.station_id, each.rows) for each in found}


async def planted(rows: asyncpg.Connection, statement: str, *values: Any) -> None:
    async with rows.transaction():
        await rows.execute("SET LOCAL session_replication_role = replica")
        await rows.execute(statement, *values)


async def test_a_day_at_the_stations_leaves_nothing_that_dangles(own: Teppan) -> None:
    station = await own.station()
    booking = await own.booking(station, await own.customer(station))
    await own.pay(station, booking.booking_id, 70)
    for service, columns in (("identity", 0), ("bookings", 5), ("payments", 2)):
        end = (await audit(own, service))[-1].end
        assert (end.columns, end.things_asked > 0) == (columns, columns > 0), service
        assert (end.dangling, end.undecided) == (0, 0), service


async def test_what_a_restored_owner_no_longer_has_is_found_and_repaired_by_rule(own: Teppan, rows: asyncpg.Connection) -> None:
    station, other = await own.station(), await own.station()
    for each in (station, other):
        booking = await own.booking(each, await own.customer(each))
        await own.pay(each, booking.booking_id, 70)
    await planted(rows, "DELETE FROM identity.stations WHERE id = $1", UUID(station))
    assert dangling(await audit(own, "bookings")) == {
        (column, station, station, 1)
        for column in ("bookings.station_id", "customers.station_id", "schedules.station_id", "slots.station_id")
    }
    assert dangling(await audit(own, "payments")) == {("payments.station_id", station, station, 1)}
    for service, column in (("bookings", "slots.station_id"), ("payments", "payments.station_id")):

        async def counted(service: str = service, column: str = column) -> None:
            assert own.registries[service].get_sample_value("dangling_references", {"column": column}) == 1.0

        await eventually(counted)
    assert own.registries["payments"].get_sample_value("dangling_references", {"column": "payments.booking_id"}) == 0.0
    steps = await audit(own, "bookings", "slots.station_id", repair=True)
    assert [step.undecided.why for step in steps if step.HasField("undecided")] == [
        "a row that refers to it is needed by another: bookings_station_id_slot_date_slot_start_fkey"
    ]
    steps = await audit(own, "payments", repair=True)
    assert steps[-1].end.rows_repaired == 0, "RESTRICT is an operator's"


async def test_a_booking_of_another_station_dangles(own: Teppan, rows: asyncpg.Connection) -> None:
    station, other = await own.station(), await own.station()
    booking = await own.booking(station, await own.customer(station))
    await own.pay(station, booking.booking_id, 70)
    await planted(rows, "UPDATE payments.payments SET station_id = $1 WHERE station_id = $2", UUID(other), UUID(station))
    assert dangling(await audit(own, "payments")) == {("payments.booking_id", booking.booking_id, other, 1)}


async def test_who_repairs_is_in_the_journal(own: Teppan, rows: asyncpg.Connection) -> None:
    station, admin = uuid4(), uuid4()
    await planted(rows, "INSERT INTO bookings.slots VALUES ($1, date '2030-01-01', '12:00', now(), now(), 2)", station)
    request = pb.AuditReferencesRequest(columns=["slots.station_id"], repair=True)
    metadata = own.bearer(platform_role=options_pb2.PLATFORM_ROLE_ADMIN, subject=admin)
    steps = [step async for step in audits(own, "bookings").AuditReferences(request, metadata=metadata)]
    assert [(each.repaired.id, each.repaired.rows) for each in steps if each.HasField("repaired")] == [(str(station), 1)]
    assert await rows.fetchval("SELECT repaired_by FROM bookings.reference_repairs") == str(admin)
    assert not await rows.fetchval("SELECT count(*) FROM bookings.slots WHERE station_id = $1", station)


async def test_a_column_that_is_not_audited_is_refused_by_name(own: Teppan) -> None:
    request = pb.AuditReferencesRequest(columns=["payments.booking_id", "payments.customer_id"])
    answer = await refused(audits(own, "payments").AuditReferences(request, metadata=own.admin))
    assert (answer.code, set(answer.fields)) == ("INVALID_ARGUMENT", {"columns[1]"})


async def test_only_platform_administrators_may_audit(teppan: Teppan) -> None:
    station = await teppan.station()
    callers = (
        teppan.bearer(platform_role=options_pb2.PLATFORM_ROLE_SUPPORT), teppan.member(station), teppan.service("bookings"),
    )  # fmt: skip
    for service in SERVICES:
        for metadata in callers:
            answer = await refused(audits(teppan, service).AuditReferences(pb.AuditReferencesRequest(), metadata=metadata))
            assert (answer.code, answer.metadata["permission"]) == ("PERMISSION_DENIED", "references.audit")
        answer = await refused(audits(teppan, service).AuditReferences(pb.AuditReferencesRequest()))
        assert answer.code == "UNAUTHENTICATED"
