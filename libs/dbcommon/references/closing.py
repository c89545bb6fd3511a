"""The second step of closing (rule 2): a known row that is CLOSING becomes CLOSED once no write that refers to it is open."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog
from sqlalchemy import Table

from dbcommon.database import Database, Transaction
from dbcommon.references.states import Known
from faults import LockTimeout

LOCK_SECONDS = 2
BATCH = 500
TURN_SECONDS = 2.0
NOBODY = UUID(int=0)
"""Then the feed goes on: its owner's other news must not wait for a million rows, nor for writes that stay open."""

log = structlog.get_logger()

Closed = Callable[[Transaction, Sequence[UUID]], Awaitable[None]]
"""Told of rows in the transaction that closes them: no write that refers to their entities is open any more."""


class Closing:
    """Closes the known rows of one type, each in a transaction that waits for open writes and locks nothing else."""

    def __init__(self, platform: Database, known: Table, *, type: str, closed: Closed | None) -> None:
        """`known` is a table as `known_table` makes it."""
        self._platform = platform
        self._table = known
        self._key = next(iter(known.primary_key)).name
        self._type = type
        self._closed = closed
        self._tried = NOBODY

    async def take_turn(self) -> None:
        """Closes what is CLOSING, or as much of it as a turn allows, with its last wait; the next turn goes on with the rest.

        What nobody writes to goes first, in batches; the others are waited for one by one, in the order of their IDs.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + TURN_SECONDS
        if not await self._some():
            return
        while await self._close(skip_locked=True) == BATCH:
            if loop.time() >= until:
                return
        for id in await self._some(self._tried) or await self._some():
            self._tried = id
            try:
                await self._close(id)
            except LockTimeout:  # a write is open for long: the row refuses new ones, and the feed must not wait for it
                log.warning("a known row cannot be closed yet", type=self._type, id=str(id))
            if loop.time() >= until:
                return

    async def _some(self, after: UUID = NOBODY) -> Sequence[UUID]:
        """The first that are CLOSING, by ID, after an ID."""
        closing = f"SELECT {self._key} FROM {self._closing} AND {self._key} > :after ORDER BY {self._key} LIMIT {BATCH}"
        return (await self._platform.look(closing, {"after": after})).column()

    async def _close(self, id: UUID | None = None, *, skip_locked: bool = False) -> int:
        """Closes one, or some of them, in one transaction; how many there were."""
        one = "" if id is None else f" AND {self._key} = :id"
        lock = f"SELECT {self._key} FROM {self._closing}{one} ORDER BY {self._key} LIMIT {BATCH} FOR UPDATE"
        close = f"UPDATE {self._table.fullname} SET state = {Known.CLOSED:d}, fence = fence + 1 WHERE {self._key} = ANY(:ids)"
        async with self._platform.transaction(lock_seconds=LOCK_SECONDS) as tx:
            ids = (await tx.execute(f"{lock} SKIP LOCKED" if skip_locked else lock, {"id": id})).column()
            await tx.execute(close, {"ids": ids})
            if self._closed is not None and ids:
                await self._closed(tx, ids)
        return len(ids)

    @property
    def _closing(self) -> str:
        """The rows that are CLOSING; as a literal, since a partial index is chosen by it."""
        return f"{self._table.fullname} WHERE state = {Known.CLOSING:d}"
