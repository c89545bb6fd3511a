"""Values that only their owner may read: AES-256-GCM, with the key's ID in the value, and a keyed blind index beside it."""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12


class Keyring:
    """Keys by ID, the one that seals now, and the one of the blind indexes."""

    def __init__(self, keys: Mapping[str, bytes], *, current: str, index_key: bytes) -> None:
        """Every key has 32 bytes; the ring opens what any of its keys sealed."""
        for name, key in {**keys, "index_key": index_key}.items():
            if len(key) != KEY_BYTES:
                raise ValueError(f"the key {name!r} of the keyring has {len(key)} bytes, not {KEY_BYTES}")
        if current not in keys:
            raise ValueError(f"the keyring has no key {current!r}, which it names as its current one")
        self._keys = {name: AESGCM(key) for name, key in keys.items()}
        self._current = current
        self._index_key = index_key

    @classmethod
    def from_json(cls, text: str) -> "Keyring":
        """Reads `{"current": "k1", "keys": {"k1": "<base64>"}, "index_key": "<base64>"}`."""
        ring = json.loads(text)
        keys = {name: base64.b64decode(key) for name, key in ring["keys"].items()}
        return cls(keys, current=ring["current"], index_key=base64.b64decode(ring["index_key"]))

    def seal(self, value: str, *, place: str) -> bytes:
        """Encrypts a value for one place, such as `customers.email:<id>`; nowhere else it opens."""
        nonce = os.urandom(NONCE_BYTES)
        name = self._current.encode()
        return bytes([len(name)]) + name + nonce + self._keys[self._current].encrypt(nonce, value.encode(), place.encode())

    def open(self, sealed: bytes, *, place: str) -> str:
        """The value; raises `cryptography.exceptions.InvalidTag` where it was moved or changed."""
        end = 1 + sealed[0]
        key = self._keys[sealed[1:end].decode()]
        return key.decrypt(sealed[end : end + NONCE_BYTES], sealed[end + NONCE_BYTES :], place.encode()).decode()

    def index(self, value: str, *, column: str) -> bytes:
        """The same 32 bytes for the same normalised value in the same column: for equality and uniqueness."""
        return hmac.new(self._index_key, f"{column}\0{value}".encode(), hashlib.sha256).digest()
