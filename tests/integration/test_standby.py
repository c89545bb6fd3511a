"""What there is is answered by the primary: a standby that lags would say NOT_FOUND of what was made a moment ago."""

import asyncpg
import pytest
from teppan.common.v1 import references_pb2 as pb

from tests.integration.stage import Teppan, refused


@pytest.mark.parametrize(
    ("owner", "type"), [("identity", "identity.Station"), ("identity", "identity.User"), ("bookings", "bookings.Booking")]
)
async def test_a_standby_does_not_say_what_there_is(own: Teppan, owner: str, type: str) -> None:
    station = await own.station()
    item = pb.ReferenceItem(id=station, station_id="" if type.endswith("User") else station)
    request = pb.CheckReferencesRequest(type=type, items=[item])
    assert (await own.references(owner).CheckReferences(request, metadata=own.service("payments"))).epoch
    connection = await asyncpg.connect(own.server.url(own.database))
    try:  # nothing here is a standby, so its own word for it is put before PostgreSQL's
        await connection.execute(
            "CREATE SCHEMA played; GRANT USAGE ON SCHEMA played TO PUBLIC;"
            "CREATE FUNCTION played.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true';"
            f"ALTER ROLE {owner}_platform IN DATABASE {own.database} SET search_path = played, pg_catalog"
        )
        await connection.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{owner}_platform' AND datname = '{own.database}'"
        )
    finally:
        await connection.close()
    await own.stop(owner)
    await own.start(owner)
    answer = await refused(own.references(owner).CheckReferences(request, metadata=own.service("payments")))
    assert (answer.code, answer.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
    assert "standby" in answer.message
