"""A service that runs, and a command that runs beside it."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import structlog
from teppan.common.v1 import audits_pb2_grpc, events_pb2_grpc, references_pb2_grpc

from dbcommon import migrate
from dbcommon.database import assert_idle
from dbcommon.poolers import keeps_settings, keeps_statements
from dbcommon.tenancy import refuse_unsafe
from faults import DatabaseUnavailable
from rpccommon.audits import AuditsServicer
from rpccommon.calls import Calls
from rpccommon.feed import EventsServicer
from rpccommon.policies import policies
from rpccommon.references import ReferencesServicer
from rpccommon.server import Server, run_workers
from rpccommon.telemetry import Telemetry
from service.parts import Parts, now
from service.wanted import COMMON, Serving
from service.workers import workers
from settings import SettingsWrong

DATABASE_RETRY_SECONDS = 1.0

log = structlog.get_logger()


class Unready(Exception):
    """The database is not one that this code works on; the message says why."""


def freeze() -> None:
    """What is in memory by now stays for good: the garbage collector need not look at it again and again.

    For a process that serves, once it does; without it a tenth of a list in Python goes there.
    """
    gc.collect()
    gc.freeze()


@asynccontextmanager
async def serving(wanted: Serving) -> AsyncIterator[int]:
    """Serves until the block ends; gives the port.

    Raises Unsafe where the database would isolate nothing, SettingsWrong where a pooler does not fit the settings, and TlsWrong.
    """
    parts, service = wanted.parts, wanted.service
    telemetry = Telemetry(service, wanted.registry)
    if parts.settings.tls is not None:
        parts.settings.tls.check(now())
        telemetry.holds_until(parts.settings.tls.not_after)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(parts.app.close)
        stack.push_async_callback(parts.platform.close)
        stack.push_async_callback(parts.probe.close)
        for peer in wanted.peers:
            stack.push_async_callback(peer.close)
        if wanted.lists:
            log.info("lists", service=service, path=wanted.lists)
        await _check_database(parts)
        stop_metrics = telemetry.start_metrics(parts.settings.metrics_listen, parts.settings.tls)
        stack.push_async_callback(asyncio.to_thread, stop_metrics)
        running = asyncio.create_task(run_workers(*workers(wanted)), name=f"{service} workers")
        stack.push_async_callback(_cancel, running)
        server = _server(wanted, telemetry)
        port = await server.start()
        stack.push_async_callback(server.stop)
        yield port


@asynccontextmanager
async def beside(wanted: Serving) -> AsyncIterator[Serving]:
    """For a command that looks at, or mends, what the processes that serve have in the database. Raises Unready."""
    parts = wanted.parts
    async with AsyncExitStack() as stack:
        stack.push_async_callback(parts.platform.close)
        for peer in wanted.peers:
            stack.push_async_callback(peer.close)
        if why := await migrate.unready(parts.platform, wanted.service, migrate.head(parts.migrations)):
            raise Unready(why)
        yield wanted


def _server(wanted: Serving, telemetry: Telemetry) -> Server:
    parts, service = wanted.parts, wanted.service
    services = [*wanted.services, *COMMON]
    revocations = wanted.verifier.revocations

    def fresh() -> None:
        revocations.require()
        if wanted.fresh is not None:
            wanted.fresh()

    calls = Calls(service, policies(*services), wanted.verifier, telemetry, fresh=fresh, idle=assert_idle)
    known = migrate.head(parts.migrations)

    async def ready() -> str | None:
        try:
            return await migrate.unready(parts.probe, service, known)
        except DatabaseUnavailable as fault:
            return fault.message

    def register_common(server: grpc.aio.Server) -> None:
        events_pb2_grpc.add_EventsServiceServicer_to_server(EventsServicer(parts.feed, parts.tokens), server)
        references = ReferencesServicer(wanted.referents, wanted.referring, parts.tokens)
        references_pb2_grpc.add_ReferencesServiceServicer_to_server(references, server)
        audits_pb2_grpc.add_AuditsServiceServicer_to_server(AuditsServicer(wanted.auditor), server)

    return Server(
        service,
        parts.settings.listen,
        calls,
        [*wanted.register, register_common],
        [descriptor.full_name for descriptor in services],
        ready,
        applied=revocations.applied,
        tls=parts.settings.tls,
        drain_seconds=parts.settings.drain_seconds,
    )


async def _check_database(parts: Parts) -> None:
    """Waits for the database, then refuses poolers that do not fit the settings, and roles that it would not isolate."""
    while True:
        try:
            await _refuse_poolers(parts)
            for database in (parts.app, parts.platform):
                async with database.transaction(read_only=True) as tx:
                    await refuse_unsafe(tx, parts.schema.service, parts.schema.tenant_tables)
        except DatabaseUnavailable as fault:
            log.warning("waiting for the database", why=fault.message)
            await asyncio.sleep(DATABASE_RETRY_SECONDS)
        else:
            return


async def _refuse_poolers(parts: Parts) -> None:
    """Raises SettingsWrong with a line for each URL that leads to a pooler which cannot do what is asked of it."""
    settings = parts.settings
    urls = {"TEPPAN_DATABASE_APP_URL": settings.app_url, "TEPPAN_DATABASE_PLATFORM_URL": settings.platform_url}
    wrong = [
        f"{name} leads to a pooler that shares sessions and does not keep statements: set TEPPAN_DATABASE_PREPARED=off"
        " (or max_prepared_statements in PgBouncer, from 1.21 on)"
        for name, url in urls.items()
        if settings.prepared and not await keeps_statements(url)
    ]
    if not await keeps_settings(parts.direct_url):
        name = "TEPPAN_DATABASE_DIRECT_URL" if settings.direct_url else "TEPPAN_DATABASE_PLATFORM_URL"
        wrong.append(f"{name} leads to a pooler: set TEPPAN_DATABASE_DIRECT_URL, which leads to PostgreSQL itself")
    if wrong:
        raise SettingsWrong("\n".join(wrong))


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
