"""How a call is ended with an error: which metadata goes with it, and in what way gRPC sends it."""

import contextlib
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc._cython.cygrpc import ExecuteBatchError  # type: ignore[import-not-found]  # what grpc.aio raises has no public name

from faults import Code
from rpccommon.status import DETAILS_KEY, retry_seconds

CALL_ID_KEY = "x-call-id"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
CODES = {int(code.value[0]): code for code in grpc.StatusCode}


async def tell(context: Any, call_id: str, status: status_pb2.Status) -> None:
    """Ends the call with an error.

    Only `context.abort` sends nothing before the status: else a client that retries by a service config would not retry. No such client
    is to retry OVERLOADED, and an abort is an exception, which makes a refusal a third dearer.
    """
    metadata = [(CALL_ID_KEY, call_id), (DETAILS_KEY, status.SerializeToString())]
    if (seconds := retry_seconds(status)) is not None:  # what RetryInfo says, to the clients that retry by a service config
        metadata.append((PUSHBACK_KEY, str(int(seconds * 1000))))
    if status.code != Code.RESOURCE_EXHAUSTED.value:
        with contextlib.suppress(ExecuteBatchError):  # nobody is there any more
            await context.abort(CODES[status.code], status.message, tuple(metadata))
        return
    context.set_code(CODES[status.code])
    context.set_details(status.message)
    context.set_trailing_metadata(tuple(metadata))
