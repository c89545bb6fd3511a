"""The endless work of a process."""

from teppan.common.v1 import events_pb2

from dbcommon.election import lead
from dbcommon.inbox import Inbox
from dbcommon.references import Consequences
from dbcommon.relay import Relay
from ids import new_id
from rpccommon.feed import Consumer
from rpccommon.feed.gauges import RelayGauge, show_followed
from rpccommon.feed.metrics import FeedMetrics
from rpccommon.gauges import Counted, dangling_references, parked_events, tombstones, unfinished_sagas
from rpccommon.references import registration
from rpccommon.registry import registry
from rpccommon.server import run_workers
from service.wanted import Serving, Worker, parked_of, sagas_of


def workers(wanted: Serving) -> list[Worker]:
    """Endless work of every process, and of the one that is elected."""
    parts, service = wanted.parts, wanted.service
    told = FeedMetrics(wanted.registry, [following.peer.name for following in wanted.following])
    consumers = [
        Consumer(
            following.peer,
            list(following.handlers),
            Inbox(
                parts.platform, service, following.peer.name, following.handlers, events_pb2.Event.SerializeToString,
                following.known, following.unsaid,
            ),
            told,
            register=registration(following.peer, service, registry()),
        ).run
        for following in wanted.following
    ]  # fmt: skip
    parts.app.wakes = parts.platform.wakes = parts.wakes
    relay = Relay(parts.platform, service, new_id, parts.wakes).run
    everywhere: list[Worker] = [
        wanted.verifier.revocations.run,
        parts.wakes.run,
        parts.feed.watch,
        RelayGauge(wanted.registry, parts.feed.complete_until).watch,
    ]
    if wanted.sagas:
        everywhere.append(Counted(wanted.registry, sagas_of(wanted).counts, unfinished_sagas).watch)
    if wanted.following:
        show_followed(wanted.registry, [each.peer.name for each in wanted.following], parts.freshness.complete_until)
        parked = parked_of(wanted)
        consumers += [parked.run, Consequences(parts.platform, wanted.known, wanted.columns).run]
        followed = [(each.peer.name, type) for each in wanted.following for type in each.handlers]
        everywhere += [parts.freshness.watch, Counted(wanted.registry, parked.counts, parked_events(followed)).watch]

    if wanted.known:
        consumers.append(wanted.auditor.watch)
        auditor = wanted.auditor
        everywhere.append(Counted(wanted.registry, auditor.findings.rows, dangling_references(auditor.columns)).watch)
    if wanted.purges is not None:
        consumers.append(wanted.purges.run)
        everywhere.append(Counted(wanted.registry, wanted.purges.purges.tombstones, tombstones).watch)

    async def elected() -> None:
        await lead(parts.direct_url, f"workers of {service}", lambda: run_workers(relay, *consumers, *wanted.elected))

    return [*everywhere, elected]
