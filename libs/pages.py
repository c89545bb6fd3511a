"""A page of a list, and opaque tokens that are bound to the list they came from."""

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

PAGE_TOKEN_LIFETIME = timedelta(days=3)
PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1_000
PAGE_BYTES_MAX = 1024 * 1024
SIGNATURE_BYTES = 16
ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True, default=str)

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows in the order asked for, and the key that the next page begins after: none on the last page of the data."""

    rows: Sequence[Row]
    next: tuple[Any, ...] | None


def page_size(asked: int) -> int:
    """The rows of a page: the default for 0, the maximum for more (AIP-158); negatives are refused before."""
    return min(asked or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


class TokenRefused(ValueError):
    """The token is damaged, expired, or made for something else."""


class Tokens:
    """Signs and opens tokens; a token says nothing that its holder did not know, but is not to be built by hand."""

    def __init__(self, key: bytes, now: Callable[[], datetime]) -> None:
        """Takes the service's key of at least 32 bytes."""
        if len(key) < 32:  # noqa: PLR2004  # of HMAC-SHA-256: RFC 2104 advises a key as long as the hash
            raise ValueError(f"a token key has at least 32 bytes, this one {len(key)}")
        self._key = key
        self._now = now

    def sign(self, purpose: str, value: Mapping[str, Any], lifetime: timedelta | None = PAGE_TOKEN_LIFETIME) -> str:
        """The token: URL-safe text. `purpose` names what it is for, down to method and filter (see `bound`)."""
        expiry = None if lifetime is None else int((self._now() + lifetime).timestamp())
        body = ENCODER.encode([expiry, value]).encode()
        return base64.urlsafe_b64encode(self._signature(purpose, body) + body).decode().rstrip("=")

    def open(self, purpose: str, text: str) -> Mapping[str, Any]:
        """What was signed for that purpose; TokenRefused for anything else."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise TokenRefused("it is damaged") from error
        if base64.urlsafe_b64encode(raw).decode().rstrip("=") != text:  # bits that base64 leaves unused were set
            raise TokenRefused("it is damaged")
        signature, body = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(purpose, body)):
            raise TokenRefused("it is damaged, or of another request")
        expiry, value = json.loads(body)
        if expiry is not None and self._now().timestamp() > expiry:
            raise TokenRefused("it has expired")
        return value  # type: ignore[no-any-return]  # signed by us: it is what `sign` was given

    def _signature(self, purpose: str, body: bytes) -> bytes:
        message = len(purpose).to_bytes(4, "big") + purpose.encode() + body
        return hmac.digest(self._key, message, "sha256")[:SIGNATURE_BYTES]


def bound(method: str, **request: object) -> str:
    """The purpose of a page token: the method, and everything of the request that decides which rows come in which order."""
    return method + ENCODER.encode(request)
