"""Whether the services of a process serve, as `grpc.health.v1` tells it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

States = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """One state for all services of a process: they share its database and its fate. Nothing serves until it is said."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are the full names of the services; the empty one stands for all."""
        self._names = frozenset({"", *names})
        self._serving = False
        self._stopping = False
        self._changed = asyncio.Condition()

    async def say(self, *, serving: bool) -> None:
        """Tells everybody who watches; nothing serves again once it stops."""
        async with self._changed:
            self._serving = serving and not self._stopping
            self._changed.notify_all()

    async def stop(self) -> None:
        """NOT_SERVING from now on; who watches is told, and let go."""
        self._stopping = True
        await self.say(serving=False)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        """The state of one service."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return States(status=self._state(request.service))

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The state of one service, and every other one that it gets."""
        told = None
        while True:
            if told != (told := self._state(request.service)):
                yield States(status=told)
            elif self._stopping:
                return
            else:
                async with self._changed:
                    while told == self._state(request.service) and not self._stopping:
                        await self._changed.wait()

    def _state(self, name: str) -> Any:
        if name not in self._names:
            return States.SERVICE_UNKNOWN
        return States.SERVING if self._serving else States.NOT_SERVING
