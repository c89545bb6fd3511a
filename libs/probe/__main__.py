"""Exits with 0 where the service says SERVING; else says what it said, and exits with 1. Light: it is run every few seconds."""

import os
import sys
from collections.abc import Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rpccommon.listening import host_and_port
from settings import Reader, SettingsWrong, tls

SECONDS = 2.0
NO_PROXY = (("grpc.enable_http_proxy", 0),)
SERVING = health_pb2.HealthCheckResponse.SERVING


def main(environ: Mapping[str, str]) -> int:
    """The exit code."""
    reader = Reader(environ)
    listen, own = reader.text("TEPPAN_LISTEN"), tls(reader)
    reader.done()
    address = f"localhost:{host_and_port(listen)[1]}"
    if own is None:
        channel = grpc.insecure_channel(address, options=NO_PROXY)
    else:
        options = (*NO_PROXY, ("grpc.ssl_target_name_override", own.name))  # it is this process's own certificate
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(own.ca, own.key, own.certificate), options=options)
    with channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            said = stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS).status
        except grpc.RpcError as error:
            print(f"{address}: {error}", file=sys.stderr)  # noqa: T201  # a container's engine keeps it
            return 1
    print(health_pb2.HealthCheckResponse.ServingStatus.Name(said))  # noqa: T201  # likewise
    return 0 if said == SERVING else 1


if __name__ == "__main__":
    try:
        raise SystemExit(main(os.environ))
    except SettingsWrong as wrong:
        raise SystemExit(str(wrong)) from wrong
