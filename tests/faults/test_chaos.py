"""Services and Postgres are killed by chance under load: nothing dangles, nothing is lost, and nothing is done twice."""

import random
from collections.abc import Callable

import pytest
from demo.calls import Backend
from demo.scene import Scene

from local.stack import Stack
from tests.deployed import IN_CONTAINERS, Deployment
from tests.faults.audited import audited
from tests.faults.breaking import Rhythm
from tests.faults.chaos import Extent, chaos

pytestmark = pytest.mark.skipif(
    IN_CONTAINERS, reason="of the embedded stack: its processes are killed, its database is looked into"
)

SLICE = Extent(
    seconds=8, seconds_max=90, stalled_max=2.0, rhythm=Rhythm(apart_max=8, paused_max=1.0, long=2, long_share=0.1),
    crashes_apart_max=10, contested=2, held_back=2, closed=10, full=0, breaks=1,
)  # fmt: skip
WHOLE = Extent(
    seconds=600, seconds_max=720, stalled_max=10, rhythm=Rhythm(apart_max=20, paused_max=3, long=11, long_share=0.15),
    crashes_apart_max=20, contested=8, held_back=12, closed=100, full=5, breaks=10,
)  # fmt: skip


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("extent", [pytest.param(SLICE, id="slice"), pytest.param(WHOLE, id="whole", marks=pytest.mark.long)])
async def test_whatever_is_killed_nothing_dangles_nothing_is_lost_and_nothing_is_done_twice(
    embedded: Stack,
    running: Deployment,
    backend: Backend,
    cast: Scene,
    extent: Extent,
    tell: Callable[[str], None],
) -> None:
    seed = random.randrange(10**6)
    tell(f"chaos: seed {seed}")
    async with chaos(embedded, backend, cast.admin, extent, seed) as run:
        await run.begin()
        await run.run()
        for each in run.breaking:
            tell(f"chaos: {each.service} {dict(each.done)}")
        tell(f"chaos: {run.world.figures()}")
        assert not run.world.unexpected, run.world.unexpected
        assert not await run.wrong()
        assert not await audited(running.described)
        assert run.enough, "too little has happened to prove anything"
