"""The epochs of another service's feed that this service has left: it follows none of them again.

A deposed primary may go on in one, and say of whoever has gone on that their cursor diverged: what it tells was true once.
"""

from uuid import UUID

from sqlalchemy import Column, MetaData, Table, Text, Uuid

from dbcommon.database import Transaction
from dbcommon.schema import Access

ACCESS = Access(platform=("SELECT", "INSERT"))


def table(metadata: MetaData) -> Table:
    """The `left_epochs` of a service: they are few, and never deleted."""
    return Table(
        "left_epochs", metadata, Column("owner", Text, primary_key=True), Column("epoch", Uuid, primary_key=True)
    )  # fmt: skip


def is_left(service: str, *epochs: str) -> str:
    """The SQL condition that one of the epochs, expressions, of the feed of `:owner` was left."""
    return f"EXISTS (SELECT FROM {service}.left_epochs l WHERE l.owner = :owner AND l.epoch IN ({', '.join(epochs)}))"


async def leave(tx: Transaction, service: str, owner: str, epoch: UUID) -> None:
    """Leaves an epoch, in the transaction that moves the cursor out of it."""
    insert = f"INSERT INTO {service}.left_epochs (owner, epoch) VALUES (:owner, :epoch) ON CONFLICT DO NOTHING"
    await tx.execute(insert, {"owner": owner, "epoch": epoch})
