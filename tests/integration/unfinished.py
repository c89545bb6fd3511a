"""What a service's own command says of sagas that have not ended."""

import asyncio
import json
import subprocess
import sys
from typing import Any

from local.database import ROOT
from local.stack import PYTHONPATH
from tests.integration.stage import Teppan

SECONDS = 60.0


async def sagas(teppan: Teppan, service: str) -> list[dict[str, Any]]:
    """What `python -m SERVICE sagas` answers."""
    run = [sys.executable, "-m", service, "sagas"]
    environ = {**teppan.environ(service), "PYTHONPATH": PYTHONPATH}
    done = await asyncio.to_thread(
        subprocess.run, run, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]
