"""How a token goes with a call: as its `authorization`, and in the text of no error."""

import re
from collections.abc import Iterable

import grpc

from teppan.client.refusals import CallFailed

AUTHORIZATION = "authorization"
COMPRESSION = "grpc-internal-encoding-request"
KEY, BINARY = re.compile(r"[a-z0-9_.-]+"), "-bin"
Metadata = tuple[tuple[str, str | bytes], ...]


def carried(token: str) -> str:
    """The token without white space around it. Raises ValueError where metadata cannot carry it, and does not show it."""
    stripped = token.strip()
    if not stripped:
        raise ValueError("the token is empty")
    if not _printable(stripped):
        raise ValueError("the token has characters inside that no call can carry: a line end, say, or a letter that is not ASCII")
    return stripped


def own(metadata: Iterable[tuple[str | bytes, str | bytes]] | None) -> tuple[Metadata, bool]:
    """What the caller gave, and whether a token is in it. Raises CallFailed where no call can carry it.

    gRPC would refuse it too, in an error that shows all metadata of the call: the token too, whatever else is wrong.
    """
    # gRPC takes keys of bytes, too, and adds one where a call shall be compressed, which services refuse: it could hide any size.
    named = ((key if isinstance(key, str) else key.decode("latin-1"), value) for key, value in metadata or ())
    given = tuple((key, value) for key, value in named if key != COMPRESSION)
    for key, value in given:
        text = value if isinstance(value, str) else value.decode("latin-1")
        if not KEY.fullmatch(key) or not (key.endswith(BINARY) or _printable(text)):
            raise CallFailed(grpc.StatusCode.INVALID_ARGUMENT, f"metadata {key!r}: no call can carry that key, or its value")
    return given, any(key == AUTHORIZATION for key, _ in given)


def bearing(metadata: Metadata, token: str) -> Metadata:
    """With a source's token. Raises CallFailed for one that no call can carry."""
    try:
        return (*metadata, (AUTHORIZATION, f"Bearer {carried(token)}"))
    except ValueError as error:
        raise CallFailed(grpc.StatusCode.UNAUTHENTICATED, str(error)) from None


def _printable(text: str) -> bool:
    return text.isascii() and text.isprintable()
