"""The gauges of purges that have not ended."""

import asyncio
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from rpccommon.tombstones import Tombstones


@dataclass(frozen=True)
class Count:
    count: int
    seconds: float


def shown(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


async def test_a_scrape_sees_how_many_purges_have_not_ended_and_how_old_the_oldest_is() -> None:
    registry, looked = CollectorRegistry(), asyncio.Event()

    async def read() -> Count:
        if looked.is_set():
            await asyncio.Event().wait()
        looked.set()
        return Count(2, 7.5)

    gauges = Tombstones(registry, read)
    assert shown(registry) == [], "before the first look there is no figure, and not a good one"
    watching = asyncio.create_task(gauges.watch())
    await looked.wait()
    await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait({watching})
    assert shown(registry) == ["tombstones 2.0", "tombstone_age_seconds 7.5"]
