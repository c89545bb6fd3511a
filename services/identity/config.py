"""What identity is told by its environment."""

import hashlib
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

import settings
from dbcommon.private import Keyring
from identity.domain.addresses import Proxies, proxies_of
from rpccommon.keys import public_jwk
from settings import Reader, Settings

PEM = re.compile(rb"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The common settings, the keys of private data, those that sign tokens (the first signs, all are published), and the proxies."""

    common: Settings
    keyring: Keyring
    signing_keys: Sequence[Ed25519PrivateKey]
    proxies: Proxies

    @property
    def jwks(self) -> str:
        """The public keys, as a JWK Set."""
        publics = [key.public_key() for key in self.signing_keys]
        return json.dumps({"keys": [public_jwk(kid_of(key), key) for key in publics]})


def read(environ: Mapping[str, str]) -> Config:
    """Raises SettingsWrong with every mistake."""
    reader = Reader(environ)
    common = settings.read("identity", reader, peers=("bookings", "payments"))
    keyring = reader.file("TEPPAN_KEYRING_FILE", lambda text: Keyring.from_json(text.decode()))
    signing_keys = reader.file("TEPPAN_SIGNING_KEYS_FILE", _private_keys)
    proxies = reader.parsed("TEPPAN_TRUSTED_PROXIES", proxies_of)
    reader.done()
    return Config(common=common, keyring=keyring, signing_keys=signing_keys, proxies=proxies)  # type: ignore[arg-type]  # read, or `done` raised


def kid_of(key: Ed25519PublicKey) -> str:
    """The ID of a key: its thumbprint, by RFC 7638."""
    jwk = public_jwk("", key)
    required = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
    return urlsafe_b64encode(hashlib.sha256(required.encode()).digest()).decode().rstrip("=")


def _private_keys(pem: bytes) -> list[Ed25519PrivateKey]:
    keys = [settings.private_key(block) for block in PEM.findall(pem)]
    if not keys:
        raise ValueError("there is no private key in it")
    return keys
