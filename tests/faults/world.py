"""What everybody in the chaos knows: the stations and users there are, what was acknowledged, and what was answered to calls."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import grpc
from demo.calls import Backend, bearer, new_id
from demo.scene import week
from teppan.bookings.v1 import bookings_pb2
from teppan.client import aio
from teppan.identity.v1 import stations_pb2

from tests.faults.once import Asked

CALL_SECONDS = 20.0
"""Longer than the longest pause of a process: most calls outlast it."""
CODE_DIGITS = 12
MINE = "Chaos"
"""The name of the stations that are made here."""
EXPECTED = {
    "FAILED_PRECONDITION": {
        "REFERENCE_CLOSED", "STATION_STATE", "USER_STATE", "STILL_REFERENCED", "NOT_CLOSED_YET", "SLOT_FULL", "BOOKING_STATE",
    },
    "UNAVAILABLE": {"", "FEED_STALE", "PEER_UNAVAILABLE", "DATABASE_UNAVAILABLE"},
    "ABORTED": {"REQUEST_IN_FLIGHT", "LOCK_TIMEOUT"},
    "DEADLINE_EXCEEDED": {"", "DEADLINE_EXCEEDED"},
    "RESOURCE_EXHAUSTED": {"OVERLOADED", "LOGIN_BUSY"},
}  # fmt: skip
"""How calls may be answered while processes are killed and things closed: reasons by code. Anything else is a failure."""


@dataclass(kw_only=True)
class World:
    """All of it, of one run."""

    chance: random.Random
    backend: Backend
    bare: Any
    """A stub of BookingsService on a channel as gRPC makes it."""
    token: str = field(repr=False)
    lasting: list[str] = field(default_factory=list)
    """Stations that are turned to and fro."""
    leaving: list[str] = field(default_factory=list)
    """Stations that are on their way out just now, and written to all the same."""
    users: list[str] = field(default_factory=list)
    customers: dict[str, list[str]] = field(default_factory=dict)
    """By station."""
    unpaid: list[bookings_pb2.Booking] = field(default_factory=list)
    uncancelled: list[bookings_pb2.Booking] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    """Requests that have one effect, in the order in which they were first sent."""
    kept: dict[str, set[UUID]] = field(default_factory=dict)
    """What was acknowledged, by table."""
    purged: dict[str, set[UUID]] = field(default_factory=dict)
    """What was answered to be PURGED or PURGING, by type."""
    contested: set[str] = field(default_factory=set)
    """The stations of these that were written to on their way out."""
    tried: Counter[str] = field(default_factory=Counter)
    """Writes that began, by station, while it was on its way out."""
    told: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Answers by method, code and reason."""
    unexpected: list[str] = field(default_factory=list)

    async def call(self, method: str, request: Any) -> Any:
        """The answer; None where there was another that is to be expected."""
        answer, _ = await self.ask(method, request)
        return answer

    async def ask(self, method: str, request: Any) -> tuple[Any, str]:
        """The answer; or None, and the reason."""
        return await self.heard(method, self.backend.method(method), request)

    async def heard(self, name: str, method: Callable[..., Awaitable[Any]], request: Any) -> tuple[Any, str]:
        """As `ask`, of a method of any client."""
        try:
            answer = await method(request, metadata=bearer(self.token), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            told = aio.refusal(error)
            self.told[name, told.code, told.reason] += 1
            if told.reason not in EXPECTED.get(told.code, ()):
                self.unexpected.append(f"{name}: {told}")
            return None, told.reason
        self.told[name, "OK", ""] += 1
        return answer, ""

    async def effect(self, method: str, request: Any) -> Any:
        """As `call`, of a request that is sent again later."""
        self.asked.append(Asked(method=method, request=request))
        return await self.send(self.asked[-1])

    async def send(self, asked: Asked) -> Any:
        """Sends such a request, for the first time or again."""
        answer, reason = await self.ask(asked.method, asked.request)
        if wrong := asked.note(answer, refused=reason in EXPECTED["FAILED_PRECONDITION"]):
            self.unexpected.append(f"{asked.method} {asked.mark}: {wrong}")
        return answer

    async def new_station(self) -> str:
        """Makes one, with a week; empty where it did not come to be."""
        code = "".join(self.chance.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=CODE_DIGITS))
        new = stations_pb2.CreateStationRequest(
            request_id=new_id(), code=code, name=MINE, time_zone="Europe/Paris", currency_code="EUR"
        )
        answer = await self.call("stations.CreateStation", new)
        if answer:
            self.keep("identity.stations", answer.station.station_id)
        if not answer or not await self.call("slots.UpdateSchedule", week(answer.station.station_id)):
            return ""
        return str(answer.station.station_id)

    def keep(self, table: str, id: str) -> None:
        """Notes that a row was acknowledged."""
        self.kept.setdefault(table, set()).add(UUID(id))

    def keep_purged(self, type: str, id: str) -> None:
        """Notes that it is beyond coming back."""
        self.purged.setdefault(type, set()).add(UUID(id))

    def is_purged(self, station: str) -> bool:
        """Whether it was answered to be."""
        return UUID(station) in self.purged.get("identity.Station", ())

    def some_station(self) -> str:
        """Where to write: often where something is on its way out."""
        station = self.chance.choice(self.leaving if self.leaving and self.chance.random() < 0.6 else self.lasting)
        if station in self.leaving:
            self.tried[station] += 1
        return station

    def refused(self, reason: str) -> int:
        """How many calls were refused for it."""
        return sum(count for (_, _, why), count in self.told.items() if why == reason)

    def figures(self) -> str:
        """What happened, for people."""
        purged = ", ".join(f"{len(ids)} {type}" for type, ids in sorted(self.purged.items()))
        kept = ", ".join(f"{len(ids)} {table}" for table, ids in sorted(self.kept.items()))
        answers = "".join(f"\n  {' '.join(filter(None, told))} {count}" for told, count in sorted(self.told.items()))
        return (
            f"purged {purged} ({len(self.contested)} stations while written to),"
            f" {self.refused('STILL_REFERENCED')} purges STILL_REFERENCED,"
            f" {self.refused('REFERENCE_CLOSED')} writes REFERENCE_CLOSED; kept {kept}{answers}"
        )
