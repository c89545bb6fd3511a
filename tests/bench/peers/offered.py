"""An open loop: calls begin by the clock, whether or not those before have been answered, as the calls of a crowd do."""

import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.peers.golang import Programs
from tests.bench.peers.raw import Call
from tests.bench.peers.scripted import ClientFails

CONNECTIONS = 100
OUTSTANDING_MAX = 8_000
"""Fewer than the server takes on all connections: nothing waits in the client for a place on one."""
DEADLINE_SECONDS = 1.0
WINDOW_SECONDS = 0.5
END_SECONDS = 30
"""What the client may take besides the time that it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """A call with its bodies, and where in each a fresh UUID stands (-1: nowhere)."""

    call: Call
    bodies: Sequence[bytes]
    offset: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What came of it. Times are from when a call was due, so a client that is late hides nothing."""

    seconds: float
    good: int
    refused: int
    expired: int
    """Calls that had no answer by their deadline."""
    skipped: int
    """Calls that were not made, because as many as allowed were under way."""
    failures: Mapping[str, int]
    """By status and reason."""
    good_p50_ms: float | None
    """None where there was none, as the next three."""
    good_p99_ms: float | None
    refused_p50_ms: float | None
    refused_p99_ms: float | None
    late_p50_ms: float
    """How long after they were due calls began."""
    late_p99_ms: float
    late_most_ms: float
    client_cores: float
    """How much of a core the client took."""
    after: Sequence[float]
    """Good answers a second, for each window, of the closed loop that began when the last call had begun."""

    @property
    def due(self) -> int:
        """All calls."""
        return self.good + self.refused + self.expired + self.skipped

    @property
    def good_per_second(self) -> float:
        """The figure that is compared with the peak."""
        return self.good / self.seconds

    def recovered(self, rate: float) -> float:
        """Returns the seconds until a window has that rate; all that were watched where none has."""
        reached = (number for number, each in enumerate(self.after) if each >= rate)
        return (next(reached, len(self.after) - 1) + 1) * WINDOW_SECONDS


async def offer(
    programs: Programs, crowd: Crowd, *, per_second: float, seconds: float, after_seconds: float = 0, after_clients: int = 1
) -> Offered:
    """Offers so many calls a second; afterwards so many clients go on in a closed loop. Raises ClientFails."""
    with tempfile.TemporaryDirectory(prefix="teppan-load-") as folder:
        file = Path(folder) / "bodies"
        file.write_bytes(b"".join(len(body).to_bytes(4, "big") + body for body in crowd.bodies))
        call = crowd.call
        options = {
            "kind": call.kind, "target": call.address, "path": call.path, "authorization": call.authorization, "bodies": file,
            "offset": crowd.offset, "clients": CONNECTIONS, "seconds": seconds, "rate": per_second, "deadline": f"{DEADLINE_SECONDS}s",
            "outstanding": OUTSTANDING_MAX, "window": f"{WINDOW_SECONDS}s", "after": f"{after_seconds}s", "closed": after_clients,
        }  # fmt: skip
        return _offered(await _said(programs, options, seconds + after_seconds + END_SECONDS))


async def _said(programs: Programs, options: Mapping[str, object], limit_seconds: float) -> dict[str, Any]:
    arguments = [part for name, value in options.items() for part in (f"-{name}", str(value))]
    child = await asyncio.create_subprocess_exec(
        programs.load, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(limit_seconds):
            output, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise ClientFails(errors.decode()[-2000:])
    said: dict[str, Any] = json.loads(output)
    return said


def _offered(said: Mapping[str, Any]) -> Offered:
    late = [each / 1000 for each in said["late_us"]]
    good, refused = (
        [each / 1000 if said[name] else None for each in said[f"{name}_us"]] for name in ("good", "refused")
    )  # fmt: skip
    return Offered(
        seconds=said["seconds"], good=said["good"], refused=said["refused"], expired=said["expired"], skipped=said["skipped"], failures=said["failures"],
        good_p50_ms=good[0], good_p99_ms=good[1], refused_p50_ms=refused[0], refused_p99_ms=refused[1],
        late_p50_ms=late[0], late_p99_ms=late[1], late_most_ms=late[2], client_cores=said["cpu_seconds"] / said["seconds"],
        after=[each / WINDOW_SECONDS for each in said["after"]],
    )  # fmt: skip
