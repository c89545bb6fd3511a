"""What a process tells of itself: one JSON line a call, and metrics for Prometheus."""

import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, Gauge
from structlog.typing import Processor

from rpccommon import metrics
from rpccommon.present import Call
from rpccommon.rates import Rate, Rates
from tls import Tls

TENANTS_LOGGED = 3
TENANTS_SHOWN_CACHED = 4_096
TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
"""Never with the values of variables: they hold what people sent."""


ENCODER = json.JSONEncoder(default=str)


def _json(line: dict[str, Any], **_: object) -> str:
    """As json.dumps, without making an encoder for each line."""
    return ENCODER.encode(line)


def logging_to(stream: TextIO) -> None:
    """Makes every line of the log a JSON object, those of libraries from WARNING on too."""
    shared: list[Processor] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    structlog.configure(
        processors=[*shared, TRACEBACKS, structlog.processors.JSONRenderer(_json)],
        logger_factory=structlog.WriteLoggerFactory(stream),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                TRACEBACKS,
                structlog.processors.JSONRenderer(_json),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


@lru_cache(maxsize=TENANTS_SHOWN_CACHED)
def _shown(tenant: UUID) -> str:
    return str(tenant)


def _nowhere(_: str) -> None:
    """Stands for the log until the first line."""


class Telemetry:
    """The metrics of one process: rate, errors and duration of each method."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        """A registry of its own for each server, so that several can live in one process (tests)."""
        self.service = service
        self.registry = registry
        self._factory: Any = None
        self._write: Callable[[str], object] = _nowhere
        self._second, self._prefix = 0, ""
        self._rates = Rates()
        registry.register(self._rates)

    def log_call(self, call: Call, seconds: float) -> None:
        """Writes the line of a call that has ended.

        It is the one line that is written for every call, and so is put together here: nothing in it can need escaping, since a
        call's ID was matched, subjects are UUIDs or names of services, and the rest is ours.
        """
        factory = structlog.get_config()["logger_factory"]
        if factory is not self._factory:  # as a rule it is set once; tests set it again
            self._factory, self._write = factory, factory().msg
        tenants = ",".join(map(_shown, call.tenants[:TENANTS_LOGGED]))
        self._write(
            f'{{"method": "{call.method}", "code": "{call.code}", "reason": "{call.reason}",'
            f' "caller": "{call.caller.shown}", "tenant": "{tenants}", "duration_ms": {seconds * 1e3:.3f},'
            f' "call_id": "{call.call_id}", "messages": {call.messages}, "event": "call", "level": "info",'
            f' "timestamp": "{self._timestamp()}"}}'
        )

    def _timestamp(self) -> str:
        """The time, of which all but the fraction is made once a second."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._prefix = second, datetime.fromtimestamp(second, UTC).isoformat()[:-6]
        return f"{self._prefix}.{int((now - second) * 1e6):06d}Z"

    def of(self, method: str) -> Rate:
        """The metrics of one method."""
        return self._rates.of(method)

    def holds_until(self, time: datetime) -> None:
        """Shows until when the certificate holds that this process has read: it learns of another one by starting again."""
        shown = Gauge("tls_certificate_not_after_seconds", "Until when the certificate holds, since 1970", registry=self.registry)
        shown.set(time.timestamp())

    def start_metrics(self, listen: str, tls: Tls | None = None) -> Callable[[], None]:
        """Serves the metrics at `host:port`; what it gives stops it. Raises CannotListen."""
        return metrics.serve(self.registry, listen, tls)
