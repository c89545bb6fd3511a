"""The limit of a stream: what PostgreSQL itself gives, as psql takes it with a binary COPY."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bookings.store.listing import COLUMNS

SECONDS_MAX = 120


class PsqlFails(Exception):
    """It ended otherwise than it should; the message has what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a COPY took, without the start of psql and the connection."""

    rows: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """The figure that streams are compared with."""
        return self.rows / self.seconds


async def copy(psql: Path, url: str, station: UUID, *, rows: int) -> Copied:
    """Copies a station's list to /dev/null; `url` is of a role that sees all rows, `rows` how many they are. Raises PsqlFails.

    `enable_sort` is off as for the role bookings_app: the plan is that of the lists, an ordered read of their index.
    """
    listed = f"SELECT {COLUMNS} FROM bookings.bookings b WHERE b.station_id = '{station}' ORDER BY start_time DESC, id DESC"
    return await _timed(psql, url, f"COPY ({listed}) TO STDOUT (FORMAT binary)", rows)


async def _timed(psql: Path, url: str, statement: str, rows: int) -> Copied:
    setting = "SET enable_sort = off; SET jit = off"
    commands = [part for each in (setting, r"\timing on", statement) for part in ("-c", each)]
    child = await asyncio.create_subprocess_exec(
        psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", *commands, url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS_MAX):
            output, errors = (each.decode() for each in await child.communicate())
    except TimeoutError:
        child.kill()
        raise
    found = re.search(r"Time: ([\d.]+) ms", output)
    if child.returncode or found is None:
        raise PsqlFails(f"psql ended with {child.returncode}: {output[-500:]}{errors}")
    return Copied(rows=rows, seconds=float(found[1]) / 1000)
