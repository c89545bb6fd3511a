"""Bookings over HTTP, as people write it: FastAPI, SQLAlchemy's async ORM, pydantic models. It checks no token and sees all rows.

DATABASE_URL and POOL are its settings; `tests.bench.peers.servers` starts it with uvicorn.
"""

import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated
from uuid import UUID

from creating import create
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.responses import StreamingResponse
from schemas import BookingIn, BookingOut, PageOut, WholeBookingOut
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import selectinload, undefer
from tables import Booking

engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=int(os.environ.get("POOL", "16")), max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Closes the pool at the end."""
    yield
    await engine.dispose()


async def session() -> AsyncIterator[AsyncSession]:
    """A session for a call."""
    async with sessions() as opened:
        yield opened


app = FastAPI(lifespan=lifespan)
Session = Annotated[AsyncSession, Depends(session)]
PageSize = Annotated[int, Query(ge=1, le=1000)]
Key = tuple[datetime, UUID]


@app.get("/stations/{station_id}/bookings/{booking_id}")
async def get_booking(station_id: UUID, booking_id: UUID, session: Session) -> WholeBookingOut:
    """One booking with its price lines."""
    return WholeBookingOut.model_validate(await _whole(session, station_id, booking_id))


@app.get("/stations/{station_id}/bookings")
async def list_bookings(station_id: UUID, session: Session, page_size: PageSize = 100, page_token: str | None = None) -> PageOut:
    """A page, the latest start first."""
    rows, following = await _page(session, station_id, page_size, _key(page_token))
    bookings = [BookingOut.model_validate(row) for row in rows]
    return PageOut(bookings=bookings, next_page_token=_token(following) if following else None)


@app.get("/stations/{station_id}/bookings:export")
async def export_bookings(station_id: UUID, page_size: PageSize = 1000) -> StreamingResponse:
    """All bookings, a JSON object a line."""

    async def lines() -> AsyncIterator[str]:
        after = None
        while True:
            async with sessions() as opened:
                rows, after = await _page(opened, station_id, page_size, after)
            yield "".join(BookingOut.model_validate(row).model_dump_json() + "\n" for row in rows)
            if after is None:
                return

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@app.post("/bookings", status_code=201)
async def create_booking(wanted: BookingIn, session: Session) -> WholeBookingOut:
    """Takes a place."""
    async with session.begin():
        made = await create(session, wanted)
    booking = made if isinstance(made, Booking) else await _whole(session, wanted.station_id, made)
    return WholeBookingOut.model_validate(booking)


async def _whole(session: AsyncSession, station_id: UUID, booking_id: UUID) -> Booking:
    where = (Booking.station_id == station_id, Booking.id == booking_id)
    whole = select(Booking).where(*where).options(undefer(Booking.requests), selectinload(Booking.price_lines))
    booking = await session.scalar(whole)
    if booking is None:
        raise HTTPException(404, "there is no such booking in this station")
    return booking


async def _page(session: AsyncSession, station_id: UUID, size: int, after: Key | None) -> tuple[list[Booking], Key | None]:
    statement = select(Booking).where(Booking.station_id == station_id)
    if after is not None:
        statement = statement.where(tuple_(Booking.start_time, Booking.id) < after)
    ordered = statement.order_by(Booking.start_time.desc(), Booking.id.desc()).limit(size + 1)
    rows = list(await session.scalars(ordered))
    shown = rows[:size]
    return shown, (shown[-1].start_time, shown[-1].id) if len(rows) > size else None


def _token(key: Key) -> str:
    return base64.urlsafe_b64encode(f"{key[0].isoformat()} {key[1]}".encode()).decode()


def _key(token: str | None) -> Key | None:
    if token is None:
        return None
    try:
        start, booking_id = base64.urlsafe_b64decode(token).decode().split()
        return datetime.fromisoformat(start), UUID(booking_id)
    except ValueError as error:
        raise HTTPException(400, "page_token is not one of this list") from error
