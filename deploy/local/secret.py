"""Keys and secrets of a stack on this machine, made once in a folder that nobody else enters."""

import base64
import json
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from rpccommon.keys import public_jwk

SECRET_BYTES = 32


def make(folder: Path, services: tuple[str, ...]) -> None:
    """Makes what is missing: a key and a token key for each service, the JWKS of all, identity's signing key, the keyrings."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for service in services:
        _write(folder / f"{service}.pem", _private_key())
        _write(folder / f"{service}.token.key", base64.urlsafe_b64encode(os.urandom(SECRET_BYTES)))
        _write(folder / f"{service}.keyring.json", _keyring())
    _write(folder / "signing.pem", _private_key())
    write(folder / "services.jwks.json", _jwks(folder, services))  # always that of the keys that are there


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Writes a file as a whole, or not at all: whoever reads it meanwhile, or after a full disk, finds the old one, or none."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.touch(mode=mode)
        fresh.chmod(mode)
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    if not path.exists():
        write(path, content)


def _private_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _keyring() -> bytes:
    keys = {name: base64.b64encode(os.urandom(SECRET_BYTES)).decode() for name in ("k1", "index_key")}
    return json.dumps({"current": "k1", "keys": {"k1": keys["k1"]}, "index_key": keys["index_key"]}).encode()


def _jwks(folder: Path, services: tuple[str, ...]) -> bytes:
    keys = []
    for service in services:
        key = load_pem_private_key((folder / f"{service}.pem").read_bytes(), password=None)
        if isinstance(key, Ed25519PrivateKey):
            keys.append(public_jwk(service, key.public_key()))
    return json.dumps({"keys": keys}).encode()
