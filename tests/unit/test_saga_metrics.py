"""The gauges of sagas that have not ended."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from rpccommon.sagas import UnfinishedSagas


@dataclass(frozen=True)
class Count:
    kind: str
    unfinished: int
    seconds: float


async def test_each_kind_has_its_count_and_the_age_of_the_oldest_also_where_there_is_none() -> None:
    registry, looked = CollectorRegistry(), asyncio.Event()

    async def read() -> Sequence[Count]:
        if looked.is_set():
            await asyncio.Event().wait()
        looked.set()
        return [Count("expiring", 3, 61.5), Count("refund_due", 0, 0)]

    watching = asyncio.create_task(UnfinishedSagas(registry, read).watch())
    await looked.wait()
    await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait({watching})
    assert [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")] == [
        'sagas_unfinished{kind="expiring"} 3.0',
        'sagas_unfinished{kind="refund_due"} 0.0',
        'saga_oldest_age_seconds{kind="expiring"} 61.5',
        'saga_oldest_age_seconds{kind="refund_due"} 0.0',
    ]
