"""Who is calling, and whether they may: Ed25519 JWTs, and the policy of the method.

Users' tokens are signed by identity, and verified with the keys that it publishes; a service's own token is signed with its
own key, and verified with the keys that were deployed.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from teppan.common.v1 import options_pb2
from teppan.common.v1.options_pb2 import MethodPolicy

from callers import Caller, Kind
from clocks import SKEW_SECONDS
from faults import PermissionDenied, TokenExpired, TokenInvalid, TokenMissing
from rpccommon.keys import ALGORITHM, KEYS_REFRESH_SECONDS, Keys
from rpccommon.revocations import Revocations

AUDIENCE = "teppan"
ISSUER_USERS = "identity.teppan"
ISSUER_SERVICES = "services.teppan"
SERVICE_TOKEN_LIFETIME = timedelta(minutes=5)
SERVICE_TOKEN_RENEWAL = timedelta(minutes=1)
VERIFIED_CACHED = 10_000
TOKEN_BYTES_MAX = 8 * 1024
SECONDS_MAX = 2**38
"""Since 1970: beyond the year 9999."""


def access_token(*, key: Ed25519PrivateKey, kid: str, caller: Caller, now: datetime, lifetime: timedelta) -> str:
    """A token that says who a user is, and what they are in which tenant."""
    claims = {
        "iss": ISSUER_USERS,
        "aud": AUDIENCE,
        "sub": caller.subject,
        "iat": int(now.timestamp()),
        "exp": int((now + lifetime).timestamp()),
        "name": caller.name,
        "platform": caller.platform_role,
        "roles": {str(tenant): role for tenant, role in caller.roles.items()},
    }
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": kid})


class ServiceToken:
    """A service's own token, made again shortly before it expires."""

    def __init__(self, service: str, key: Ed25519PrivateKey, now: Callable[[], datetime]) -> None:
        """Makes none yet."""
        self._service = service
        self._key = key
        self._now = now
        self._token = ""
        self._expires: datetime | None = None

    def bearer(self) -> str:
        """The value of the `authorization` metadata."""
        now = self._now()
        if self._expires is None or self._expires - now < SERVICE_TOKEN_RENEWAL:
            self._expires = now + SERVICE_TOKEN_LIFETIME
            claims = {
                "iss": ISSUER_SERVICES,
                "aud": AUDIENCE,
                "sub": self._service,
                "iat": int(now.timestamp()),
                "exp": int(self._expires.timestamp()),
            }
            self._token = "Bearer " + jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self._service})
        return self._token


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    """What a token says, once its signature was verified; times in seconds since 1970."""

    caller: Caller
    issued: float
    expiry: float
    verified: float
    """When. Its key may have been withdrawn since: after some minutes it is verified again."""


class Verifier:
    """Turns the `authorization` of a call into its caller."""

    def __init__(self, users: Keys, services: Keys, revocations: Revocations, now: Callable[[], datetime]) -> None:
        """`users` are identity's keys, `services` those of the services, by name."""
        self.revocations = revocations
        self._issuers = {ISSUER_USERS: users, ISSUER_SERVICES: services}
        self._now = now
        self._verified: OrderedDict[str, _Token] = OrderedDict()

    def known(self, authorization: str | None) -> Caller | None:
        """Returns the caller of a token that was verified lately; None for any other. Raises TokenExpired, TokenInvalid."""
        token = self._verified.get(authorization) if authorization else None
        if token is None:
            return None
        now = self._now().timestamp()
        if now - token.verified > KEYS_REFRESH_SECONDS:
            return None
        self._refuse_outlived(token, now)  # whether it was good before or not: its signature is all that stays so
        return token.caller

    async def caller(self, authorization: str | None) -> Caller:
        """Raises TokenMissing, TokenInvalid, TokenExpired, PeerUnavailable."""
        if not authorization:
            raise TokenMissing("the call has no token; log in, and send `authorization: Bearer <token>`")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > TOKEN_BYTES_MAX:
            raise TokenInvalid("the `authorization` is not `Bearer <token>`")
        verified = await self._verify(token)
        self._refuse_outlived(verified, self._now().timestamp())
        if len(self._verified) >= VERIFIED_CACHED:
            self._verified.popitem(last=False)
        self._verified[authorization] = verified
        return verified.caller

    def _refuse_outlived(self, token: _Token, now: float) -> None:
        if now > token.expiry + SKEW_SECONDS:
            raise TokenExpired("the token has expired; log in again")
        if self.revocations.revoked(token.caller.subject, token.issued):
            raise TokenInvalid("the token is not valid any more; log in again")

    async def _verify(self, token: str) -> _Token:
        try:
            header = jwt.get_unverified_header(token)
            issuer = jwt.decode(token, options={"verify_signature": False})["iss"]
            key = await self._issuers[issuer].key(header["kid"])
        except (jwt.PyJWTError, KeyError, TypeError) as error:
            raise TokenInvalid("the token is damaged, or of another issuer") from error
        if key is None:
            raise TokenInvalid("the token is signed with a key that is not (any more) in use")
        try:
            claims = jwt.decode(
                token, key, algorithms=[ALGORITHM], audience=AUDIENCE, issuer=issuer,
                options={"require": ["exp", "iat", "sub"], "verify_exp": False, "verify_iat": False},
            )  # fmt: skip
            caller = _caller(issuer, header["kid"], claims)
            verified = self._now().timestamp()
            return _Token(caller=caller, issued=_seconds(claims["iat"]), expiry=_seconds(claims["exp"]), verified=verified)
        except (jwt.PyJWTError, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise TokenInvalid("the token's signature or content is not what it should be") from error


def _seconds(claim: Any) -> float:
    """A time of a claim. Raises ValueError: NaN, for one, would never expire."""
    if not isinstance(claim, int | float) or not 0 <= claim <= SECONDS_MAX:
        raise ValueError("a time of a token is a number of seconds since 1970")
    return float(claim)


def _caller(issuer: str, kid: str, claims: Mapping[str, Any]) -> Caller:
    if issuer == ISSUER_SERVICES:
        if claims["sub"] != kid:
            raise ValueError("a service speaks for itself only")
        return Caller(kind=Kind.SERVICE, subject=claims["sub"], name=claims["sub"])
    return Caller(
        kind=Kind.USER,
        subject=str(UUID(claims["sub"])),
        name=str(claims["name"]),
        platform_role=int(claims["platform"]),
        roles={UUID(tenant): int(role) for tenant, role in claims["roles"].items()},
    )


class Permission:
    """Who may call a method, as its policy says; read from it once, since every call asks."""

    def __init__(self, policy: MethodPolicy) -> None:
        """Takes the method's policy."""
        self._name = policy.permission
        self._scope = policy.scope
        self._role = policy.role
        reads = policy.retry == options_pb2.RETRY_CLASS_READ
        self._platform = {options_pb2.PLATFORM_ROLE_ADMIN, *([options_pb2.PLATFORM_ROLE_SUPPORT] if reads else [])}

    def require(self, caller: Caller, tenants: Sequence[UUID]) -> None:
        """Raises PermissionDenied; whether a tenant exists is not said, nor looked at."""
        if not self._granted(caller, tenants):
            raise PermissionDenied(f"this needs the permission {self._name}, or there is no such station", permission=self._name)

    def _granted(self, caller: Caller, tenants: Sequence[UUID]) -> bool:
        if self._scope == options_pb2.SCOPE_STATION:
            if caller.kind is not Kind.USER:
                return False
            return caller.platform_role in self._platform or self._held(caller, tenants)
        if self._scope == options_pb2.SCOPE_PUBLIC:
            return True
        if self._scope == options_pb2.SCOPE_CALLER:
            return caller.kind is not Kind.ANYBODY
        if self._scope == options_pb2.SCOPE_SERVICE:
            return caller.kind is Kind.SERVICE
        return self._scope == options_pb2.SCOPE_PLATFORM and caller.kind is Kind.USER and caller.platform_role in self._platform

    def _held(self, caller: Caller, tenants: Sequence[UUID]) -> bool:
        """Whether they have the role at every station that the request names; a method of stations always has a role."""
        for tenant in tenants:  # a loop, and not all(): this is half as long for one station
            if caller.roles.get(tenant, 0) < self._role:
                return False
        return self._role > 0 and bool(tenants)
