"""A server: listens, says whether it is ready, drains; and the work that runs beside it."""

import asyncio
import contextlib
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc

from rpccommon.acceptors import Acceptors
from rpccommon.calls import Calls
from rpccommon.health import Health
from rpccommon.listening import CannotListen
from rpccommon.methods import Methods
from rpccommon.reflecting import add_reflection
from rpccommon.shape import REQUEST_BYTES_MAX
from tls import Tls

__all__ = ["CannotListen", "Server", "run_workers", "until_signalled"]

DRAIN_DELAY_SECONDS = 5.0
GRACE_SECONDS = 10.0
READY_SECONDS = 1.0
READY_PATIENCE_SECONDS = 1.5
READY_ATTEMPTS = 2
"""One failure may be a connection that was cut, or a moment in which this process did not run. Together they take less than the
shortest deadline of a method of ours: who waited for a database that froze is told so."""
WORKER_PAUSE_SECONDS = (0.1, 5.0)
WORKER_STEADY_SECONDS = 30.0

log = structlog.get_logger()


class Server:
    """One gRPC server of a process."""

    def __init__(
        self, service: str, listen: str, calls: Calls, register: Sequence[Callable[[grpc.aio.Server], None]],
        names: Sequence[str], ready: Callable[[], Awaitable[str | None]], *,
        applied: asyncio.Event | None = None, tls: Tls | None = None, drain_seconds: float = DRAIN_DELAY_SECONDS,
        reflect: bool = True,
    ) -> None:  # fmt: skip
        """`names` are the full names of the services; `ready` gives the sentence why it is not ready, or None.

        Until `applied` is set, health says NOT_SERVING, so that nobody is sent here; who calls all the same is answered by what
        the process knows. Nothing takes that back later: what is known and grows old is refused call by call.

        With `tls` only those may connect who have a certificate of the same authority.
        """
        self._service = service
        self._listen = listen
        self._calls = calls
        self._register = register
        self._names = names
        self._ready = ready
        self._applied = asyncio.Event() if applied is None else applied
        if applied is None:
            self._applied.set()
        self._tls = tls
        self._drain_seconds = drain_seconds
        self._reflect = reflect
        self._health = Health(names)
        self._state: str | None = "it has just started"

    async def start(self) -> int:
        """Listens, and says NOT_SERVING until it is ready; the port. Raises CannotListen."""
        largest = max([REQUEST_BYTES_MAX, *(policy.max_request_bytes for policy in self._calls.policies.values())])
        methods: Any = Methods(self._calls)  # stands for the server where generated code registers
        for register in self._register:
            register(methods)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, methods)
        if self._reflect:
            add_reflection(methods, [*self._names, health.SERVICE_NAME])
        self._acceptors = Acceptors(methods, message_bytes_max=largest)
        try:
            port = await self._acceptors.listen(self._listen, self._tls)
        except CannotListen as refusal:
            raise CannotListen(f"{self._service} {refusal}") from refusal
        self._watching = asyncio.create_task(self._watch(), name=f"readiness of {self._service}")
        log.info("listening", service=self._service, address=self._listen, port=port)
        return port

    async def stop(self) -> None:
        """Says NOT_SERVING, goes on for a while, ends streams at their next message, refuses what is new, then stops."""
        self._watching.cancel()
        await asyncio.wait({self._watching})
        await self._health.stop()
        log.info("draining", service=self._service, seconds=self._drain_seconds)
        await asyncio.sleep(self._drain_seconds)
        self._calls.drain()
        await self._acceptors.stop(GRACE_SECONDS)
        log.info("stopped", service=self._service)

    async def _watch(self) -> None:
        while True:
            problem = self._calls.unready = await self._problem()
            if problem is None and not self._applied.is_set():
                problem = "it has not heard yet whose tokens are revoked"
            if problem != self._state:
                log.info("readiness", service=self._service, serving=problem is None, why=problem)
                await self._health.say(serving=problem is None)
                self._state = problem
            await self._rest()

    async def _rest(self) -> None:
        """A second; less where what is waited for comes."""
        if self._applied.is_set():
            await asyncio.sleep(READY_SECONDS)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                await self._applied.wait()

    async def _problem(self) -> str | None:
        for _ in range(READY_ATTEMPTS):
            problem = await self._asked()
            if problem is None:
                break
        return problem

    async def _asked(self) -> str | None:
        try:
            async with asyncio.timeout(READY_PATIENCE_SECONDS):
                return await self._ready()
        except TimeoutError:
            return f"its own check took longer than {READY_PATIENCE_SECONDS:g} s"
        except Exception as error:  # noqa: BLE001  # whatever it is: not ready, and the next look may find it mended
            return f"its own check failed: {error!r}"


async def until_signalled() -> None:
    """Returns at the first SIGTERM or SIGINT; a second one ends the process as ever."""
    loop, signalled = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.set)
    await signalled.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)


async def run_workers(*workers: Callable[[], Awaitable[None]]) -> None:
    """Runs endless work, each piece again when it fails or ends, until this is cancelled; then all of it is."""
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(_forever(worker))


async def _forever(worker: Callable[[], Awaitable[None]]) -> None:
    name = getattr(worker, "__qualname__", repr(worker))
    loop = asyncio.get_running_loop()
    least, most = WORKER_PAUSE_SECONDS
    pause = least
    while True:
        started = loop.time()
        try:
            await worker()
            log.info("a worker ended, and begins again", worker=name)
        except Exception:
            log.exception("a worker failed, and begins again", worker=name)
        pause = least if loop.time() - started > WORKER_STEADY_SECONDS else min(pause * 2, most)
        await asyncio.sleep(random.uniform(0, pause))  # noqa: S311  # spreads restarts, guards nothing
