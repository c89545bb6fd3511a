"""`teppan.client` for asyncio: the same names, and the same behaviour, on `grpc.aio`."""

from collections.abc import Sequence

import grpc

from teppan.client.aio.calls import Sending, StreamingCalls, UnaryCalls
from teppan.client.aio.lists import page, pages
from teppan.client.aio.login import FixedToken, Login, TokenSource
from teppan.client.attempts import PATIENCE_SECONDS
from teppan.client.connection import Tls, connection_to
from teppan.client.refusals import Refusal, refusal

__all__ = ["Login", "Refusal", "Tls", "TokenSource", "channel", "page", "pages", "refusal"]


def channel(
    addresses: str | Sequence[str], *, token: str | TokenSource | None = None, tls: Tls | None = None, plaintext: bool = False,
    patience_seconds: float = PATIENCE_SECONDS,
) -> grpc.aio.Channel:  # fmt: skip
    """A channel to one service, for its generated stubs, in the running loop; to be closed, or used as a context manager.

    `addresses` is one `host:port`, or those of several replicas, which then take turns. `token` goes with every call that needs one
    and brings no `authorization` of its own. Without TLS only this machine is reached, unless `plaintext` is asked for. A call
    without a `timeout` is given up after `patience_seconds`. Raises ValueError, and OSError where a replica's name is unknown.
    """
    found = connection_to(addresses, tls=tls, plaintext=plaintext)
    sending = Sending(FixedToken(token) if isinstance(token, str) else token, patience_seconds)
    around = [UnaryCalls(sending), StreamingCalls(sending)]
    if found.credentials is None:
        return grpc.aio.insecure_channel(found.target, found.options, interceptors=around)
    return grpc.aio.secure_channel(found.target, found.credentials, found.options, interceptors=around)
