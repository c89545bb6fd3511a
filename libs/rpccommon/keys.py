"""The public keys that tokens are verified with: those that were deployed, and those that identity publishes."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm

from faults import Fault, PeerUnavailable

ALGORITHM = "EdDSA"
KEYS_REFRESH_SECONDS = 600
KEYS_PATIENCE_SECONDS = 5
KEYS_RETRY_SECONDS = 1

log = structlog.get_logger()


class Keys(Protocol):
    """Public keys by their IDs."""

    async def key(self, kid: str) -> Ed25519PublicKey | None:
        """The key, or None where there is none of that ID."""


def public_jwk(kid: str, key: Ed25519PublicKey) -> dict[str, str]:
    """A key as RFC 8037 writes it."""
    made = OKPAlgorithm.to_jwk(key, as_dict=True)
    return {**made, "kid": kid, "use": "sig", "alg": ALGORITHM}


def _keys(jwks: str) -> dict[str, Ed25519PublicKey]:
    found = {}
    for jwk in json.loads(jwks)["keys"]:
        key = OKPAlgorithm.from_jwk(jwk)
        if isinstance(key, Ed25519PublicKey):
            found[jwk["kid"]] = key
    return found


class FixedKeys:
    """Keys that were deployed."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        """Takes the keys by ID."""
        self._keys = keys

    @classmethod
    def from_jwks(cls, jwks: str) -> "FixedKeys":
        """Reads a JWK Set (RFC 7517)."""
        return cls(_keys(jwks))

    async def key(self, kid: str) -> Ed25519PublicKey | None:
        """The key, if it is one of them."""
        return self._keys.get(kid)


class FetchedKeys:
    """Keys that another service publishes: fetched when needed, kept while it is away."""

    def __init__(self, fetch: Callable[[], Awaitable[str]], now: Callable[[], datetime]) -> None:
        """`fetch` gives a JWK Set, or raises a fault."""
        self._fetch = fetch
        self._now = now
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._fetched = self._failed = datetime.min.replace(tzinfo=UTC)
        self._one = asyncio.Lock()

    async def key(self, kid: str) -> Ed25519PublicKey | None:
        """The key; asks for an unknown one at most every 5 s. Raises PeerUnavailable where nobody can be asked for it."""
        if kid not in self._keys or self._since(self._fetched) >= KEYS_REFRESH_SECONDS:
            async with self._one:
                await self._refresh(kid)
        return self._keys.get(kid)

    async def _refresh(self, kid: str) -> None:
        """Fetches, unless somebody did while this call waited for its turn."""
        patience = KEYS_REFRESH_SECONDS if kid in self._keys else KEYS_PATIENCE_SECONDS
        if self._since(self._fetched) < patience:
            return
        if self._since(self._failed) >= KEYS_RETRY_SECONDS:  # one failure answers everybody who waited behind it
            try:
                self._keys = _keys(await self._fetch())
                self._fetched = self._now()
            except Fault as fault:  # what is known goes on; only an unknown key is refused
                self._failed = self._now()
                log.warning("keys cannot be fetched", why=fault.message)
        if kid not in self._keys and self._since(self._failed) < KEYS_RETRY_SECONDS:
            raise PeerUnavailable("the keys that tokens are verified with cannot be fetched")

    def _since(self, instant: datetime) -> float:
        return (self._now() - instant).total_seconds()
