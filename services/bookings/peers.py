"""The other services, as bookings needs them: identity's keys. Checks and feeds are generic, in rpccommon."""

from collections.abc import Awaitable, Callable

from teppan.identity.v1 import tokens_pb2, tokens_pb2_grpc

from rpccommon.client import Peer

KEYS_SECONDS = 2.0
SERVICES = (tokens_pb2.DESCRIPTOR.services_by_name["TokensService"],)


def keys_of(identity: Peer) -> Callable[[], Awaitable[str]]:
    """Fetches the keys that users' tokens are verified with, as a JWK Set."""
    stub = tokens_pb2_grpc.TokensServiceStub(identity.channel)

    async def fetch() -> str:
        answer = await identity.call(stub.GetKeys, tokens_pb2.GetKeysRequest(), timeout=KEYS_SECONDS)
        return answer.jwks_json

    return fetch
