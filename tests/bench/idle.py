"""What the three services cost while nobody calls them: the stack as `make up` runs it, in a folder of its own."""

import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path

from local import stack
from local.database import SERVICES
from local.ports import ANY_PORT
from local.postgres import data_folder
from local.stack import Stack
from tests.bench.limits import Judged
from tests.bench.memory import resident
from tests.bench.peers.cpu import Account, spent

SETTLE_SECONDS = 5.0
"""After a start a service still catches up with the feeds that it follows."""
START_SECONDS_MAX = 60
POLL_SECONDS = 0.02
CORE_PERCENT = 1.0


def measured(seconds: float, settle_seconds: float = SETTLE_SECONDS) -> list[Judged]:
    """Starts the stack, and each service once more beside the others; then lets it idle. Not from within an event loop."""
    ports = dict.fromkeys(SERVICES, ANY_PORT)
    with tempfile.TemporaryDirectory(prefix="teppan-idle-") as folder:
        made = stack.fresh(Path(folder), version=os.environ.get("PG", "18"), ports=ports)
        try:
            stack.start(made, tied=True)
            started = {service: _started(made, service) for service in SERVICES}
            time.sleep(settle_seconds)  # what a start leaves to do is no idleness, and nothing tells its end
            return _idle(made, started, seconds)
        finally:
            stack.stop(made)
            shutil.rmtree(data_folder(made.folder / "data"), ignore_errors=True)


def _started(made: Stack, service: str) -> float:
    """Returns the seconds from the start of a process until it serves."""
    made.supervisor.halt(service)
    begun = time.monotonic()
    made.supervisor.run(service)
    while asyncio.run(stack.health(made.address(service))) != "SERVING":
        if time.monotonic() > begun + START_SECONDS_MAX:
            raise stack.StackFails(f"{service} does not serve {START_SECONDS_MAX} s after its start")
        time.sleep(POLL_SECONDS)  # asked again: health is the condition
    return time.monotonic() - begun


def _idle(made: Stack, started: dict[str, float], seconds: float) -> list[Judged]:
    pids = {name: made.supervisor.status_of(name).pid for name in (*SERVICES, "postgres")}
    with spent(*(Account(name=name, pid=pid) for name, pid in pids.items())) as taken:
        time.sleep(seconds)  # the measurement itself: what a process uses in this time
    percent = {name: round(100 * each / seconds, 3) for name, each in taken.seconds.items()}
    return [
        *(Judged(what=f"idle {each}: CPU", value=percent[each], unit="% of a core", limit=CORE_PERCENT) for each in SERVICES),
        Judged(what="idle PostgreSQL: CPU", value=percent["postgres"], unit="% of a core"),
        *(Judged(what=f"idle {each}: memory", value=resident(pids[each]), unit="MiB") for each in SERVICES),
        *(Judged(what=f"start of {each}", value=started[each], unit="s") for each in SERVICES),
    ]
