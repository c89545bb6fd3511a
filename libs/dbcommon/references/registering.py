"""Who refers to an owner's things: what the contract names, and who else has registered (rule 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Column, DateTime, MetaData, SmallInteger, Table, Text, Uuid, func, text

import referring
from dbcommon.database import Database, Transaction, durably
from dbcommon.feed import Feed
from dbcommon.schema import Access
from faults import InvalidArgument, PurgeUnfinished
from referring import Rule

ACCESS = {
    "referrers": Access(platform=("SELECT", "INSERT", "DELETE")),
    "registry": Access(platform=("SELECT", "UPDATE")),
    "purges": Access(platform=("SELECT", "INSERT", "UPDATE", "DELETE")),
}


def tables(metadata: MetaData) -> None:
    """Adds `referrers`, `registry` and `purges` to the schema of a service whose things others refer to.

    The one row of `registry` counts registrations: a purge compares it with what it was when it began to ask.
    """
    Table(
        "referrers",
        metadata,
        Column("service", Text, primary_key=True),
        Column("type", Text, primary_key=True),
        Column("column", Text, primary_key=True),
        Column("rule", SmallInteger, nullable=False),
        Column("since", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
    Table(
        "registry",
        metadata,
        Column("only", Boolean, primary_key=True, server_default=text("true")),
        Column("version", BigInteger, nullable=False, server_default=text("0")),
    )
    Table(
        "purges",
        metadata,
        Column("type", Text, primary_key=True),
        Column("id", Uuid, primary_key=True),
        Column("epoch", Uuid, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("begin_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("purging_time", DateTime(timezone=True)),
    )


def ddl(service: str) -> list[str]:
    """The row of `registry`."""
    return [f"INSERT INTO {service}.registry DEFAULT VALUES"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class AskedAbout:
    """A column that is asked about before a thing of some type is purged."""

    type: str
    service: str
    column: str
    rule: Rule
    in_contract: bool
    since: datetime | None
    """When it was registered; None where only the contract names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Who has to answer before a thing of some type is purged."""

    version: int
    """Of the registry, no newer than the columns."""
    columns: Mapping[str, Mapping[str, Rule]]
    """The rule of each column ("table.column"), by service."""


class Registry:
    """The registry of one owner."""

    def __init__(
        self, platform: Database, service: str, feed: Feed, *, contract: Sequence[referring.Column], types: Sequence[str]
    ) -> None:
        """`contract` are all references that are declared; `types` are this service's that others may refer to."""
        self._platform = platform
        self._service = service
        self._feed = feed
        self._contract = [column for column in contract if column.type in types and column.rule is not Rule.KEEP]
        self._types = types

    async def register(self, columns: Sequence[referring.Column]) -> tuple[UUID, int]:
        """Stores who refers by what; the end of the feed, read afterwards. Registering again changes nothing.

        Raises InvalidArgument for types of others, PurgeUnfinished. What the contract names was asked by every purge, and so
        need not wait for one. A newcomer that is answered is not lost in a failover: the commit waits for a synchronous standby.
        """
        foreign = {f"columns[{n}].type": "it is not of this service" for n, c in enumerate(columns) if c.type not in self._types}
        if foreign:
            raise InvalidArgument(foreign)
        async with self._platform.transaction() as tx:
            await durably(tx)
            await tx.execute(f"SELECT FROM {self._service}.registry FOR NO KEY UPDATE")
            there = await self._registered(tx, columns[0].service)
            new = [column for column in columns if (column.type, column.place) not in there]
            await self._refuse_meanwhile(tx, [column for column in new if column not in self._contract])
            for column in new:
                await tx.execute(self._insert(), _values(column))
            if new:
                await tx.execute(f"UPDATE {self._service}.registry SET version = version + 1")
        head = await self._feed.head()
        return head.epoch, head.position

    async def expected(self, tx: Transaction, type: str) -> Expected:
        """Who refers to things of that type, by a rule that holds something back or takes something along."""
        version: int = (await tx.execute(f"SELECT version FROM {self._service}.registry")).value()
        statement = f'SELECT service, "column", rule FROM {self._service}.referrers WHERE type = :type AND rule <> :keep'
        columns: dict[str, dict[str, Rule]] = {}
        for row in await tx.execute(statement, {"type": type, "keep": Rule.KEEP.value}):
            columns.setdefault(row.service, {})[row.column] = Rule(row.rule)
        for column in self._contract:  # the contract of this code wins: a rule may have changed since it was registered
            if column.type == type:
                columns.setdefault(column.service, {})[column.place] = column.rule
        return Expected(version=version, columns=columns)

    async def referrers(self) -> list[AskedAbout]:
        """Who is asked before something is purged."""
        statement = f'SELECT type, service, "column", rule, since FROM {self._service}.referrers WHERE rule <> :keep'
        rows = await self._platform.look(statement, {"keep": Rule.KEEP.value})
        named = {(each.type, each.service, each.place): each.rule for each in self._contract}
        since = {(row.type, row.service, row.column): row.since for row in rows}
        rules = {(row.type, row.service, row.column): Rule(row.rule) for row in rows} | named
        return sorted(
            AskedAbout(
                type=type, service=service, column=column, rule=rule, in_contract=(type, service, column) in named,
                since=since.get((type, service, column)),
            )
            for (type, service, column), rule in rules.items()
        )  # fmt: skip

    async def leave(self, service: str, columns: Sequence[str]) -> None:
        """Forgets columns that are gone: nobody is asked about them any more. Raises InvalidArgument, and forgets none then.

        An operator's act, for nothing else knows whether something still refers. A purge that is under way asks again.
        """
        named = {each.place for each in self._contract if each.service == service}
        delete = f'DELETE FROM {self._service}.referrers WHERE service = :service AND "column" = ANY(:columns) RETURNING "column"'
        async with self._platform.transaction() as tx:
            await durably(tx)
            await tx.execute(f"UPDATE {self._service}.registry SET version = version + 1")
            there: set[str] = set((await tx.execute(delete, {"service": service, "columns": list(columns)})).column())
            refused = {
                column: f"{service} has registered no such column"
                if column not in named
                else "the contract names it: remove it there"
                for column in columns
                if column in named or column not in there
            }
            if refused:
                raise InvalidArgument(refused)

    async def _registered(self, tx: Transaction, service: str) -> set[tuple[str, str]]:
        statement = f'SELECT type, "column" FROM {self._service}.referrers WHERE service = :service'
        return {(row.type, row.column) for row in await tx.execute(statement, {"service": service})}

    async def _refuse_meanwhile(self, tx: Transaction, newcomers: Sequence[referring.Column]) -> None:
        """Raises PurgeUnfinished where a thing is on its way out about which the newcomers were not asked."""
        statement = f"SELECT count(*) FROM {self._service}.purges WHERE type = ANY(:types) AND purging_time IS NOT NULL"
        types = sorted({column.type for column in newcomers})
        count: int = (await tx.execute(statement, {"types": types})).value()
        if count:
            raise PurgeUnfinished(f"{count} purges have to end first", types=", ".join(types))

    def _insert(self) -> str:
        return (
            f'INSERT INTO {self._service}.referrers (service, type, "column", rule)'
            " VALUES (:service, :type, :column, :rule) ON CONFLICT DO NOTHING"
        )


def _values(column: referring.Column) -> dict[str, object]:
    name = column.place
    return {"service": column.service, "type": column.type, "column": name, "rule": column.rule.value}
