"""A client of Teppan that needs nothing else to be correct: `teppan.client`, and the same for asyncio, `teppan.client.aio`.

`channel` makes a gRPC channel for the generated stubs. Its calls have deadlines, are repeated where the contract says that they
may be, with one `request_id`, and carry a token. `pages` and `page` read lists; `refusal` says why a call failed.

Reading order: `connection` (addresses, TLS), `methods` (what the contract says of a method), `attempts` (when a call is repeated),
`bearer` (how a token is sent), `sessions` (how long it is good), `traversal` (how a list is resumed). These decide, without a clock, a
thread or a loop; `calls`, `login` and `lists` do what they say, and those of `aio` do the same.
"""

from collections.abc import Sequence

import grpc

from teppan.client.attempts import PATIENCE_SECONDS
from teppan.client.calls import Calls
from teppan.client.closable import Closable
from teppan.client.connection import Tls, connection_to
from teppan.client.lists import page, pages
from teppan.client.login import FixedToken, Login, TokenSource
from teppan.client.refusals import Refusal, refusal

__all__ = ["Login", "Refusal", "Tls", "TokenSource", "channel", "page", "pages", "refusal"]


def channel(
    addresses: str | Sequence[str], *, token: str | TokenSource | None = None, tls: Tls | None = None, plaintext: bool = False,
    patience_seconds: float = PATIENCE_SECONDS,
) -> grpc.Channel:  # fmt: skip
    """A channel to one service, for its generated stubs; to be closed, or used as a context manager.

    `addresses` is one `host:port`, or those of several replicas, which then take turns. `token` goes with every call that needs one
    and brings no `authorization` of its own. Without TLS only this machine is reached, unless `plaintext` is asked for. A call
    without a `timeout` is given up after `patience_seconds`. Raises ValueError, and OSError where a replica's name is unknown.
    """
    calls = Calls(FixedToken(token) if isinstance(token, str) else token, patience_seconds)
    found = connection_to(addresses, tls=tls, plaintext=plaintext)
    if found.credentials is None:
        made = grpc.insecure_channel(found.target, found.options)
    else:
        made = grpc.secure_channel(found.target, found.credentials, found.options)
    return grpc.intercept_channel(Closable(made), calls)
