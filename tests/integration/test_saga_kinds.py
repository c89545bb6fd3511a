"""How sagas are counted and listed, whatever they are."""

from dbcommon.database import Database
from dbcommon.sagas import LISTED_MAX, Kind, Sagas
from local.database import Server

MANY = LISTED_MAX + 50
KINDS = (
    Kind(
        name="many",
        waits_for="us",
        unfinished=f"SELECT gen_random_uuid() AS entity_id, NULL::uuid AS station_id, now() - make_interval(secs => n) AS since FROM generate_series(1, {MANY}) n",
    ),
    Kind(
        name="none",
        waits_for="nobody",
        unfinished="SELECT id AS entity_id, station_id, create_time AS since FROM bookings.bookings",
    ),
)


async def test_of_each_kind_the_oldest_are_listed_and_all_are_counted(server: Server, database: str) -> None:
    platform = Database(server.url(database, "bookings_platform"), pool_size=1)
    sagas = Sagas(platform, KINDS)
    counts, oldest = await sagas.counts(), await sagas.oldest()
    assert [(count.kind, count.unfinished, round(count.seconds)) for count in counts] == [("many", MANY, MANY), ("none", 0, 0)]
    assert [round(row.seconds) for row in oldest] == list(range(MANY, MANY - LISTED_MAX, -1))
    assert {(row.kind, row.unfinished, row.station_id) for row in oldest} == {("many", MANY, None)}
    assert sagas.waits_for("many") == "us"
    assert await Sagas(platform, ()).counts() == []
    await platform.close()
