"""By what a service of a stack is known to the others."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rpccommon.auth import ServiceToken


def service_token(name: str, keys: Path) -> ServiceToken:
    """A service's own token, by its key in that folder."""
    key = load_pem_private_key((keys / f"{name}.pem").read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    return ServiceToken(name, key, lambda: datetime.now(UTC))
