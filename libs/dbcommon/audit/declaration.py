"""The tables of an audit, in the schema of each service that refers to others' things."""

from sqlalchemy import BigInteger, Column, DateTime, Identity, MetaData, SmallInteger, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB

from dbcommon.schema import Access
from dbcommon.tenancy import NO_TENANT

ACCESS = {
    "dangling_references": Access(platform=("SELECT", "INSERT", "UPDATE", "DELETE")),
    "reference_repairs": Access(platform=("SELECT", "INSERT")),
}


def tables(metadata: MetaData) -> None:
    """Adds `dangling_references`, what audits have found and is not mended, and `reference_repairs`, the journal.

    The journal keeps each row that was deleted as it was. Of a row whose column was emptied it keeps that column only: the rest
    is where it was, and private data are not copied to where they would stay for ever.
    """
    Table(
        "dangling_references",
        metadata,
        Column("column", Text, primary_key=True),
        Column("id", Uuid, primary_key=True),
        Column("station_id", Uuid, primary_key=True, server_default=text(f"'{NO_TENANT}'")),
        Column("rows", BigInteger, nullable=False),
        _time("first_seen"),
        _time("last_seen"),
    )
    Table(
        "reference_repairs",
        metadata,
        Column("seq", BigInteger, Identity(always=True, cache=1), primary_key=True),
        _time("repair_time"),
        Column("repaired_by", Text, nullable=False),
        Column("column", Text, nullable=False),
        Column("id", Uuid, nullable=False),
        Column("rule", SmallInteger, nullable=False),
        Column("key", JSONB, nullable=False),
        Column("was", JSONB, nullable=False),
    )


def _time(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())
