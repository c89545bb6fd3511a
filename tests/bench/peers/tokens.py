"""A key that the checked peer trusts, and tokens that are signed with it, as identity would make them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from callers import Caller, Kind
from rpccommon.auth import access_token
from rpccommon.keys import public_jwk

KID = "bench"
USER = UUID(int=0xCA11E2)
ROLE_AGENT = 2
LIFETIME = timedelta(hours=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs tokens with a key of the bench's own."""

    key: Ed25519PrivateKey
    jwks: Path
    """The public key, for who verifies."""

    @classmethod
    def new(cls, folder: Path) -> "Signer":
        """Makes a key, and writes its public half to a file in that folder."""
        key, jwks = Ed25519PrivateKey.generate(), folder / "jwks.json"
        jwks.write_text(json.dumps({"keys": [public_jwk(KID, key.public_key())]}))
        return cls(key=key, jwks=jwks)

    def bearer(self, stations: Sequence[UUID], *, role: int = ROLE_AGENT, user: UUID = USER) -> str:
        """Returns the `authorization` of a user who has a role in these stations."""
        caller = Caller(kind=Kind.USER, subject=str(user), name="Bo Example", roles=dict.fromkeys(stations, role))
        return "Bearer " + access_token(key=self.key, kid=KID, caller=caller, now=datetime.now(UTC), lifetime=LIFETIME)
