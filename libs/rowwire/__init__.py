"""Turns PostgreSQL's binary rows into the protobuf bytes of a page, without an object for each row.

A `Plan` says once what becomes of each column. The encoder (rowwire.c, compiled by `python -m rowwire.build`) carries it out. It is not
everywhere: whoever uses it has another way, too. It writes the bytes that protobuf itself would write with
`SerializeToString(deterministic=True)`; `tests/rowwire_reference.py` does so, and is what it is compared with:

- Fields are in the order of their numbers, at every level.
- NULL leaves a field out. A value that is the default is left out, too, unless the field has presence (`optional`, oneofs).
- A Timestamp, Date or TimeOfDay is present wherever its column is not NULL, even if it is empty.
- A message on the path of a field (`guests` of `guests.adults`) is present where one of its columns is not NULL.
- uuid becomes 36 lower-case characters, an integer in a string field decimal text, timestamptz a Timestamp, date a Date, and
  time a TimeOfDay, of which 24:00:00 is one. Every NaN becomes the same one. Unknown numbers of enums are written as they are.
- An integer beyond its field, a timestamp or date outside of the years 1 to 9999, infinity, text that is not UTF-8, and a damaged
  row raise RowInvalid. There are never wrong bytes.

The columns' types are those of the query itself: one of a domain or an enum of PostgreSQL needs a cast.

    plan = Plan.of(Booking.DESCRIPTOR, [
        Column(name="id", type=Type.UUID, field="booking_id"),
        Column(name="start_time", type=Type.TIMESTAMPTZ, field="start_time"),
        Column(name="adults", type=Type.INT2, field="guests.adults"),
    ])
    rows = await connection.fetchval("SELECT string_agg(record_send(b), '') FROM (SELECT id, start_time, adults ... LIMIT 101) b")
    page = CompiledEncoder(plan, load_built().functions).encode(rows or b"", Framing.RECORDS, rows_max=100, bytes_max=1_048_576)
    last = plan.values(rows, page.last, Framing.RECORDS, ["start_time", "id"]) if page.consumed < len(rows) else None
"""

from rowwire.columns import Column, Fault, Type
from rowwire.compiled import CompiledEncoder
from rowwire.copying import ConnectionBroke, Copied, CopyFailed, CopyReader, Gathered
from rowwire.encoders import UNLIMITED, Encoded, Encoder, Stop
from rowwire.loading import Loaded, load_built
from rowwire.plans import Plan, PlanInvalid
from rowwire.rows import COPY_HEADER, COPY_TRAILER, Framing, RowInvalid

__all__ = [
    "COPY_HEADER", "COPY_TRAILER", "UNLIMITED", "Column", "CompiledEncoder", "ConnectionBroke", "Copied", "CopyFailed", "CopyReader",
    "Encoded", "Encoder", "Fault", "Framing", "Gathered", "Loaded", "Plan", "PlanInvalid", "RowInvalid", "Stop", "Type", "load_built",
]  # fmt: skip
