"""How many calls are under way at once, by class; who waits for a place, in which order, and who is refused at once.

A process that takes on more than it can do answers nobody in time. So a call that cannot be answered within its deadline is refused
before it costs anything (RESOURCE_EXHAUSTED OVERLOADED, with a time to come back), and one tenant's crowd waits behind itself: tenants
take turns, and while others wait none is given more than half of the places.
"""

import asyncio
import random
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from teppan.common.v1 import options_pb2
from teppan.common.v1.options_pb2 import MethodPolicy

from faults import Overloaded
from rpccommon.present import Call

WAITING_MAX = 1_000
"""Of each class; where many tenants have crowds, twice as many. One tenant alone has half of them, so that others find room."""
PATIENCE_SHARE = 0.5
"""Of the time that a call has left, the most that it waits for a place."""
PATIENCE_SECONDS = 1.0
"""The same for a call without a deadline: a stream."""
FIRST_GUESS_SECONDS = 0.005
SMOOTHING = 0.05
"""The weight of the newest call in the average of how long calls take."""
KNOWN_SECONDS = 1.0
"""The average is ignored once it is older than this: otherwise, with every call refused, nothing would ever correct it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many calls of each class a process has under way at once."""

    reads: int = 8
    writes: int = 8
    """Together as many as there are connections: more would only wait for one. A small number also keeps each turn of the event
    loop short, so that new calls are accepted and refused in time: with 32 and 16 they were refused too late (see `acceptors`)."""
    services: int = 64
    """Questions of other services: they must not wait behind users."""
    streams: int = 64
    """Open lists. Each holds two pages of a MiB at most, for as long as its reader takes."""
    streams_of_caller: int = 16
    streams_of_tenant: int = 32


class Classes:
    """The places of a server, by class of method."""

    def __init__(self, limits: Limits) -> None:
        """Makes the places."""
        self._reads, self._writes = Places("reads", limits.reads), Places("writes", limits.writes)
        self._services = Places("questions of services", limits.services)
        self._streams = Places("streams", limits.streams)
        self._open: Counter[tuple[str, Hashable]] = Counter()
        """Streams of callers, and of tenants."""
        self._limits = limits

    def of(self, policy: MethodPolicy, *, streams: bool) -> "Places | None":
        """Returns the places that a method's calls take. None where they take none.

        Feeds stay open, published keys cost nothing, and logins are bounded by the threads that verify passwords (LOGIN_BUSY).
        """
        if policy.scope == options_pb2.SCOPE_SERVICE:
            return None if streams else self._services
        if streams:
            return self._streams
        if policy.scope == options_pb2.SCOPE_PUBLIC:
            return None
        return self._reads if policy.retry == options_pb2.RETRY_CLASS_READ else self._writes

    def enter_stream(self, call: Call, places: "Places") -> None:
        """Counts a stream, until its RPC is over: what its reader has not taken yet is still in memory. Raises Overloaded.

        So its place, too, is free only then; that of a unary call is when its handler has returned.
        """
        if call.task is None:
            return
        limits = {
            ("caller", call.caller.subject): self._limits.streams_of_caller,
            ("station", call.turn): self._limits.streams_of_tenant,
        }
        for key, limit in limits.items():
            if self._open[key] >= limit:
                raise Overloaded(f"a {key[0]} may have {limit} open streams at once; end one, or wait for its end", limit=limit)
        self._open.update(limits.keys())
        call.task.add_done_callback(lambda _: self._stream_over(call, places, limits.keys()))

    def _stream_over(self, call: Call, places: "Places", keys: Iterable[tuple[str, Hashable]]) -> None:
        if call.entered is not None:
            places.leave(call.turn, None)
        for key in keys:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    tenant: Hashable
    turn: asyncio.Future[None]
    until: float
    """By the monotonic clock: afterwards its place would come too late."""


class Places:
    """The places of one class of calls."""

    def __init__(self, name: str, limit: int) -> None:
        """`limit` calls are under way at once; of one tenant `half` of them while others wait."""
        self.name = name
        self.limit = limit
        self._half = max(1, limit // 2)
        self._running = 0
        self._of: dict[Hashable, int] = {}
        self._queues: OrderedDict[Hashable, deque[_Waiter]] = OrderedDict()
        self._waiting = 0
        self._seconds = FIRST_GUESS_SECONDS
        self._known = -KNOWN_SECONDS
        """When a call last gave a duration, by the monotonic clock."""

    async def enter(self, tenant: Hashable, left: float | None) -> None:
        """Takes a place for a call that has `left` seconds. Raises Overloaded; each call that entered has to leave."""
        if not self.take(tenant):
            await self._wait(tenant, left)

    def refuse_late(self, deadline: float, now: float) -> None:
        """Raises Overloaded where no place is free, for a call that has less time left than calls take at present."""
        if self._running >= self.limit and deadline - now < self._seconds and now - self._known < KNOWN_SECONDS:
            raise self._overloaded()

    def take(self, tenant: Hashable) -> bool:
        """Takes a place where one is free and nobody waits for it; whether it has. Then the call has to leave."""
        if self._running >= self.limit or self._waiting:
            return False
        self._take(tenant)
        return True

    async def _wait(self, tenant: Hashable, left: float | None) -> None:
        patience = PATIENCE_SECONDS if left is None else left * PATIENCE_SHARE
        own = len(self._queues.get(tenant, ()))
        ahead = own * max(1, len(self._queues))
        full = own >= WAITING_MAX // (len(self._queues) + 1) or self._waiting >= 2 * WAITING_MAX
        if full or self._seconds * (ahead + 1) / self.limit > patience:
            raise self._overloaded()
        waiter = _Waiter(tenant, asyncio.get_running_loop().create_future(), time.monotonic() + patience)
        self._queues.setdefault(tenant, deque()).append(waiter)
        self._waiting += 1
        try:
            async with asyncio.timeout(patience):
                await waiter.turn
        except TimeoutError:
            self._give_up(waiter)
            raise self._overloaded() from None
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise

    def _give_up(self, waiter: _Waiter) -> None:
        """Forgets who waits no longer, or takes the place back that it was given in the same moment."""
        if waiter.turn.done() and not waiter.turn.cancelled():
            if waiter.turn.exception() is None:
                self.leave(waiter.tenant, None)
            return
        queue = self._queues.get(waiter.tenant)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            self._waiting -= 1
            if not queue:
                del self._queues[waiter.tenant]

    def leave(self, tenant: Hashable, seconds: float | None) -> None:
        """Gives a place back; `seconds` is how long it was used, where that says how long calls take."""
        self._running -= 1
        if left := self._of[tenant] - 1:
            self._of[tenant] = left
        else:
            del self._of[tenant]
        if seconds is not None:
            self._seconds += SMOOTHING * (seconds - self._seconds)
            self._known = time.monotonic()
        if self._waiting:
            self._pass_on()

    def _take(self, tenant: Hashable) -> None:
        self._running += 1
        self._of[tenant] = self._of.get(tenant, 0) + 1

    def _pass_on(self) -> None:
        """Gives free places to those who wait, tenant by tenant."""
        while self._running < self.limit and self._queues:
            waiter = self._pop()
            if waiter.turn.done():  # it was cancelled meanwhile
                continue
            if waiter.until < time.monotonic():
                waiter.turn.set_exception(self._overloaded())
                continue
            self._take(waiter.tenant)
            waiter.turn.set_result(None)

    def _pop(self) -> _Waiter:
        """The first waiter of the tenant whose turn it is; a tenant that has its half lets others go first."""
        first = next(iter(self._queues))
        chosen = next((tenant for tenant in self._queues if self._of.get(tenant, 0) < self._half), first)
        queue = self._queues[chosen]
        waiter = queue.popleft()
        self._waiting -= 1
        if queue:
            self._queues.move_to_end(chosen)
        else:
            del self._queues[chosen]
        return waiter

    def _overloaded(self) -> Overloaded:
        fault = Overloaded(f"more {self.name} are under way than this process can answer in time", limit=self.limit)
        fault.retry_seconds = random.uniform(0.5, 1.5)  # type: ignore[misc]  # noqa: S311  # spreads those who come back
        return fault
