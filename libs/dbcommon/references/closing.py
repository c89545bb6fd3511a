"""The second step of closing (rule 2): a known row that is CLOSING becomes CLOSED once no write that refers to it is open."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog
from sqlalchemy import Table, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from dbcommon.database import Database
from dbcommon.references.states import Known
from faults import LockTimeout

LOCK_SECONDS = 2
BATCH = 500
TURN_SECONDS = 2.0
"""Then the feed goes on: its owner's other news must not wait for a million rows, nor for writes that stay open."""

log = structlog.get_logger()

Closed = Callable[[AsyncConnection, Sequence[UUID]], Awaitable[None]]
"""Told of rows in the transaction that closes them: no write that refers to their entities is open any more."""


class Closing:
    """Closes the known rows of one type, each in a transaction that waits for open writes and locks nothing else."""

    def __init__(self, platform: Database, known: Table, *, type: str, closed: Closed | None) -> None:
        """`known` is a table as `known_table` makes it."""
        self._platform = platform
        self._table = known
        self._key = next(iter(known.primary_key))
        self._type = type
        self._closed = closed
        self._tried = UUID(int=0)

    async def take_turn(self) -> None:
        """Closes what is CLOSING, or as much of it as a turn allows, with its last wait; the next turn goes on with the rest.

        What nobody writes to goes first, in batches; the others are waited for one by one, in the order of their IDs.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + TURN_SECONDS
        if not await self._some():
            return
        while await self._close(true(), skip_locked=True) == BATCH:
            if loop.time() >= until:
                return
        for id in await self._some(self._key > self._tried) or await self._some():
            self._tried = id
            try:
                await self._close(self._key == id)
            except LockTimeout:  # a write is open for long: the row refuses new ones, and the feed must not wait for it
                log.warning("a known row cannot be closed yet", type=self._type, id=str(id))
            if loop.time() >= until:
                return

    async def _some(self, which: ColumnElement[bool] | None = None) -> Sequence[UUID]:
        """The first that are CLOSING, by ID."""
        closing = select(self._key).where(self._table.c.state == Known.CLOSING).order_by(self._key).limit(BATCH)
        async with self._platform.transaction(read_only=True) as tx:
            return (await tx.execute(closing if which is None else closing.where(which))).scalars().all()

    async def _close(self, which: ColumnElement[bool], *, skip_locked: bool = False) -> int:
        """Closes such rows in one transaction; how many there were."""
        closing = select(self._key).where(which, self._table.c.state == Known.CLOSING).order_by(self._key).limit(BATCH)
        async with self._platform.transaction(lock_seconds=LOCK_SECONDS) as tx:
            ids: Sequence[UUID] = (await tx.execute(closing.with_for_update(skip_locked=skip_locked))).scalars().all()
            close = update(self._table).where(self._key.in_(ids))
            await tx.execute(close.values(state=Known.CLOSED.value, fence=self._table.c.fence + 1))
            if self._closed is not None and ids:
                await self._closed(tx, ids)
        return len(ids)
