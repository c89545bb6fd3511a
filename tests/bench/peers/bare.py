"""The floor of an empty call: grpc.aio with nothing around it, which answers the same bytes to everything.

python -m tests.bench.peers.bare --listen 127.0.0.1:50999 --bytes 2
"""

import argparse
import asyncio
import signal
from typing import Any

import grpc
import uvloop

PATH = "/bench.Bare/Answer"


class Handler(grpc.GenericRpcHandler):
    """One unary method; requests and answers are bytes."""

    def __init__(self, answer: bytes) -> None:
        async def respond(request: bytes, context: Any) -> bytes:
            return answer

        self._method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(respond)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Knows one path."""
        return self._method if handler_call_details.method == PATH else None


async def serve(listen: str, answer: bytes) -> None:
    """Serves until a signal."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(answer),))
    server.add_insecure_port(listen)
    await server.start()
    stopped = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stopped.set)
    await stopped.wait()
    await server.stop(1)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", default="127.0.0.1:50999")
    parser.add_argument("--bytes", type=int, default=2, help="how long the answer is")
    chosen = parser.parse_args()
    uvloop.run(serve(chosen.listen, bytes(chosen.bytes)))


if __name__ == "__main__":
    main()
