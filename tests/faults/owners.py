"""Those who open and close what is referred to: stations and users come, are turned to and fro, and go for ever."""

import asyncio
import secrets
from typing import Any
from uuid import uuid4

from demo.calls import new_id
from demo.scene import week
from teppan.identity.v1 import stations_pb2, users_pb2

from tests.faults.world import World
from tests.faults.writers import Stalled

LASTING_MAX = 8
USERS_MAX = 6
STALLED = 0.5
"""The share of stations at which a write is open when they are deleted."""
TAKEN_BACK = 0.15
"""The share of purges that an undeletion runs against."""
ENABLED = 0.3
PURGES_MAX = 8
"""How often a purge is driven on by its request."""
ANSWERED = 0.7
"""The share of stations that nobody writes to before their deletion was answered: else nearly all would be held back."""
LATE_SECONDS_MAX = 0.4
"""How long after that they are first written to: about as long as it takes to be heard of."""
STAY_SECONDS_MAX = 0.6
"""How long what is gone is still written to."""
TURNS = ("Suspend", "Resume", "Resume", "Delete", "Undelete", "Undelete", "Purge")
REFUSED = {"STILL_REFERENCED", "STATION_STATE", "USER_STATE"}
"""Not to be driven on for now: held back, or void."""


async def come_and_go(world: World, stalled: Stalled) -> None:
    """A station with a week is deleted and purged, and written to all the while."""
    if not (station := await world.new_station()):
        return
    opened = await stalled.open(station) if world.chance.random() < STALLED else None
    world.tried[station] += opened is not None
    await asyncio.gather(_leave(world, station), stalled.end(opened))
    if not world.is_purged(station) and len(world.lasting) < LASTING_MAX:
        world.lasting.append(station)


async def _leave(world: World, station: str) -> None:
    deleting = asyncio.create_task(_turn(world, "Delete", station))
    if world.chance.random() < ANSWERED:
        await deleting
    await asyncio.sleep(world.chance.uniform(0, LATE_SECONDS_MAX))
    world.leaving.append(station)
    try:
        if await deleting:
            await _go(world, station)
        await asyncio.sleep(world.chance.uniform(0, STAY_SECONDS_MAX))
    finally:
        world.leaving.remove(station)


async def _go(world: World, station: str) -> None:
    """Purges it, unless something holds it back, or an undeletion wins."""
    against = asyncio.create_task(_turn(world, "Undelete", station)) if world.chance.random() < TAKEN_BACK else None
    if await _purged(world, "stations.PurgeStation", stations_pb2.PurgeStationRequest(request_id=new_id(), station_id=station)):
        world.keep_purged("identity.Station", station)
        if world.tried[station]:
            world.contested.add(station)
        await world.call("slots.UpdateSchedule", week(station))  # too late: nothing would take it away any more
    if against is not None:
        await against


async def to_and_fro(world: World) -> None:
    """Some station takes some turn, which its state may not allow."""
    station, turn = world.chance.choice(world.lasting), world.chance.choice(TURNS)
    answer = await _turn(world, turn, station)
    if turn == "Purge" and answer:  # beyond return, or it would be refused
        world.lasting.remove(station)
        world.keep_purged("identity.Station", station)
        world.lasting.append(await world.new_station() or station)


async def log_in_and_leave(world: World) -> None:
    """A user whom customers refer to is disabled, and then enabled again or purged."""
    wanted = users_pb2.CreateUserRequest(
        request_id=new_id(), name="Guest", email=f"{uuid4().hex}@example.com", password=secrets.token_urlsafe(12)
    )
    if not (made := await world.call("users.CreateUser", wanted)):
        return
    user = made.user.user_id
    world.users.append(user)
    await asyncio.sleep(world.chance.uniform(0, STAY_SECONDS_MAX))
    if await world.call("users.DisableUser", users_pb2.DisableUserRequest(request_id=new_id(), user_id=user)):
        if world.chance.random() < ENABLED:
            await world.call("users.EnableUser", users_pb2.EnableUserRequest(request_id=new_id(), user_id=user))
        elif await _purged(world, "users.PurgeUser", users_pb2.PurgeUserRequest(request_id=new_id(), user_id=user)):
            world.keep_purged("identity.User", user)
    await asyncio.sleep(world.chance.uniform(0, STAY_SECONDS_MAX))
    if len(world.users) > USERS_MAX:
        del world.users[0]


async def _purged(world: World, method: str, request: Any) -> bool:
    """Drives a purge on, by the same request; whether it came beyond return."""
    for _ in range(PURGES_MAX):
        answer, reason = await world.ask(method, request)
        if answer or reason in REFUSED:
            return bool(answer)
    return False


async def _turn(world: World, turn: str, station: str) -> Any:
    request = getattr(stations_pb2, f"{turn}StationRequest")(request_id=new_id(), station_id=station)
    return await world.call(f"stations.{turn}Station", request)
