"""Commands that work beside the processes that serve, on what these have in the database."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping

from faults import Fault
from service import Serving, Unready, beside

REFUSED = 2
"""The exit code where the service refuses to start, or what was asked for: nothing gets better by trying it again."""
FAILS = 1
"""The exit code where something cannot be done still, or is not there."""

Command = Callable[[argparse.Namespace, Mapping[str, str]], int]
Build = Callable[[Mapping[str, str]], Serving]
Work = Callable[[Serving, argparse.Namespace], Awaitable[int]]


def on(build: Build, work: Work) -> Command:
    """A command of a service."""
    return lambda chosen, environ: asyncio.run(_run(build, work, chosen, environ))


def something(text: str) -> str:
    """An argument that must not be empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text.strip()


async def _run(build: Build, work: Work, chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    try:
        async with beside(build(environ)) as wanted:
            chosen.user = environ.get("USER") or f"uid {os.getuid()}"
            return await work(wanted, chosen)
    except (Fault, Unready) as refusal:
        print(refusal, file=sys.stderr)  # noqa: T201  # for the operator, not for the log
        return REFUSED
