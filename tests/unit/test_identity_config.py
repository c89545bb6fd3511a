"""What identity is told, and the keys that it signs with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.utils import base64url_decode

from identity.config import kid_of, read
from local import secret
from local.stack import environment
from rpccommon.keys import FixedKeys
from settings import SettingsWrong

SERVICES = ("identity", "bookings", "payments")


def pem(key: Any = None) -> bytes:
    made = key or Ed25519PrivateKey.generate()
    return bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    secret.make(tmp_path, SERVICES)
    ports = dict.fromkeys(SERVICES, 1)
    return environment(
        "identity", ports=ports, metrics=0, urls={"app": "postgresql://a", "platform": "postgresql://p"}, secrets=tmp_path
    )


def with_keys(environ: Mapping[str, str], content: bytes) -> Mapping[str, str]:
    Path(environ["TEPPAN_SIGNING_KEYS_FILE"]).write_bytes(content)
    return environ


def test_a_key_is_named_by_its_thumbprint() -> None:
    """The example of RFC 8037, A.3."""
    key = Ed25519PublicKey.from_public_bytes(base64url_decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"))
    assert kid_of(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_identity_is_told_where_those_are_who_refer_to_what_it_owns(environ: Mapping[str, str]) -> None:
    assert set(read(environ).common.peers) == {"bookings", "payments"}
    without = {name: value for name, value in environ.items() if not name.endswith("_ADDRESS")}
    with pytest.raises(SettingsWrong, match="TEPPAN_BOOKINGS_ADDRESS is not set\nTEPPAN_PAYMENTS_ADDRESS is not set"):
        read(without)


async def test_the_first_key_signs_and_all_are_published(environ: Mapping[str, str]) -> None:
    new, old = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    config = read(with_keys(environ, b"# rotated today\n" + pem(new) + b"\n" + pem(old)))
    assert [key.public_key() for key in config.signing_keys] == [new.public_key(), old.public_key()]
    published = FixedKeys.from_jwks(config.jwks)
    for key in (new, old):
        assert await published.key(kid_of(key.public_key())) == key.public_key()
    assert all(set(jwk) == {"kty", "crv", "x", "kid", "use", "alg"} for jwk in json.loads(config.jwks)["keys"])


@pytest.mark.parametrize("content", [b"", b"no key", pem()[:40], pem() + pem(generate_private_key(SECP256R1()))])
def test_a_file_without_proper_keys_is_a_mistake_that_is_named(environ: Mapping[str, str], content: bytes) -> None:
    with pytest.raises(SettingsWrong, match="TEPPAN_SIGNING_KEYS_FILE"):
        read(with_keys(environ, content))


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsWrong) as refusal:
        read({})
    for name in ("TEPPAN_LISTEN", "TEPPAN_KEYRING_FILE", "TEPPAN_SIGNING_KEYS_FILE", "TEPPAN_DATABASE_PLATFORM_URL"):
        assert f"{name} is not set" in str(refusal.value)
