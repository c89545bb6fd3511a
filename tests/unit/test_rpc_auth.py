"""Tokens and permissions."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from teppan.common.v1 import options_pb2
from teppan.common.v1.options_pb2 import MethodPolicy

from callers import ANYBODY, Caller, Kind
from faults import PermissionDenied, TokenExpired, TokenInvalid, TokenMissing
from rpccommon.auth import (
    AUDIENCE,
    ISSUER_SERVICES,
    ISSUER_USERS,
    Permission,
    ServiceToken,
    Verifier,
    access_token,
)
from rpccommon.keys import KEYS_REFRESH_SECONDS, FetchedKeys, public_jwk
from rpccommon.revocations import Revocations
from tests.unit.rpc_stage import (
    OTHER_STATION,
    SERVICE_KEY,
    STATION,
    USER,
    USER_KEY,
    bearer,
    fixed_keys,
    nothing,
    now,
    user,
    verifier,
)

VIEWER, AGENT, MANAGER = options_pb2.ROLE_VIEWER, options_pb2.ROLE_AGENT, options_pb2.ROLE_MANAGER
SUPPORT, ADMIN = options_pb2.PLATFORM_ROLE_SUPPORT, options_pb2.PLATFORM_ROLE_ADMIN
USER_JWKS = json.dumps({"keys": [public_jwk("k1", USER_KEY.public_key())]})
SERVICE = Caller(kind=Kind.SERVICE, subject="payments", name="payments")


def claims(**changes: object) -> dict[str, object]:
    """Those of a good user's token, changed; None takes one away."""
    good = {
        "iss": ISSUER_USERS, "aud": AUDIENCE, "sub": str(USER), "name": "Ann", "platform": 0, "roles": {},
        "iat": int(now().timestamp()), "exp": int(now().timestamp()) + 60,
    }  # fmt: skip
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


def signed(body: dict[str, object], key: Ed25519PrivateKey = USER_KEY, kid: str = "k1") -> str:
    """A token with any claims."""
    return "Bearer " + jwt.encode(body, key, algorithm="EdDSA", headers={"kid": kid})


def by_hand(header: dict[str, object], body: dict[str, object], sign: Callable[[bytes], bytes]) -> str:
    """A token as no library would make it."""

    def part(raw: bytes) -> bytes:
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    head = part(json.dumps(header).encode()) + b"." + part(json.dumps(body).encode())
    return "Bearer " + (head + b"." + part(sign(head))).decode()


async def test_a_user_is_who_the_token_says() -> None:
    wanted = user(station=AGENT, other=VIEWER, platform=SUPPORT)
    assert await verifier().caller(bearer(wanted)[0][1]) == wanted


async def test_a_service_is_who_its_key_says() -> None:
    caller = await verifier().caller(ServiceToken("bookings", SERVICE_KEY, now).bearer())
    assert caller == Caller(kind=Kind.SERVICE, subject="bookings", name="bookings")


@pytest.mark.parametrize("nothing", [None, ""])
async def test_no_token_is_missing(nothing: str | None) -> None:
    with pytest.raises(TokenMissing):
        await verifier().caller(nothing)


def hs256_with_the_public_key() -> str:
    """The classic confusion of algorithms."""
    public = USER_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return by_hand(
        {"alg": "HS256", "typ": "JWT", "kid": "k1"}, claims(), lambda head: hmac.new(public, head, hashlib.sha256).digest()
    )


FORGERIES: dict[str, Callable[[], str]] = {
    "no scheme": lambda: signed(claims()).removeprefix("Bearer "),
    "another scheme": lambda: signed(claims()).replace("Bearer", "Basic"),
    "no token": lambda: "Bearer ",
    "no JWT": lambda: "Bearer abc",
    "alg none": lambda: by_hand({"alg": "none", "kid": "k1"}, claims(), lambda _: b""),
    "alg none, signed": lambda: by_hand({"alg": "none", "kid": "k1"}, claims(), USER_KEY.sign),
    "HS256 with the public key": hs256_with_the_public_key,
    "another key": lambda: signed(claims(), Ed25519PrivateKey.generate()),
    "unknown kid": lambda: signed(claims(), kid="k2"),
    "no kid": lambda: by_hand({"alg": "EdDSA"}, claims(), USER_KEY.sign),
    "another audience": lambda: signed(claims(aud="elsewhere")),
    "no audience": lambda: signed(claims(aud=None)),
    "another issuer": lambda: signed(claims(iss="elsewhere")),
    "an issuer that is a list": lambda: by_hand({"alg": "EdDSA", "kid": "k1"}, claims(iss=[ISSUER_USERS]), USER_KEY.sign),
    "no issuer": lambda: signed(claims(iss=None)),
    "no expiry": lambda: signed(claims(exp=None)),
    "an expiry that is none": lambda: signed(claims(exp="never")),
    "an expiry after all of time": lambda: by_hand({"alg": "EdDSA", "kid": "k1"}, claims(exp=10**400), USER_KEY.sign),
    "an expiry that never comes": lambda: by_hand({"alg": "EdDSA", "kid": "k1"}, claims(exp=float("inf")), USER_KEY.sign),
    "an expiry that is no number": lambda: by_hand({"alg": "EdDSA", "kid": "k1"}, claims(exp=float("nan")), USER_KEY.sign),
    "an expiry before 1970": lambda: by_hand({"alg": "EdDSA", "kid": "k1"}, claims(exp=-1), USER_KEY.sign),
    "a time of issue that is no number": lambda: by_hand({"alg": "EdDSA", "kid": "k1"}, claims(iat=float("nan")), USER_KEY.sign),
    "a beginning that never comes": lambda: by_hand({"alg": "EdDSA", "kid": "k1"}, claims(nbf=float("inf")), USER_KEY.sign),
    "roles that are a list": lambda: signed(claims(roles=["admin"])),
    "roles that are none": lambda: signed(claims(roles={"everywhere": 4})),
    "a role beyond all numbers": lambda: by_hand({"alg": "EdDSA", "kid": "k1"}, claims(platform=float("inf")), USER_KEY.sign),
    "no roles": lambda: signed(claims(roles=None)),
    "no time of issue": lambda: signed(claims(iat=None)),
    "a subject that is no user": lambda: signed(claims(sub="root")),
    "a user's key for a service": lambda: signed(claims(iss=ISSUER_SERVICES, sub="k1")),
    "a service's key for a user": lambda: signed(claims(), SERVICE_KEY, kid="bookings"),
    "a service that says it is another": lambda: signed(claims(iss=ISSUER_SERVICES, sub="identity"), SERVICE_KEY, kid="bookings"),
    "JSON without end": lambda: by_hand({"alg": "EdDSA", "kid": "k1"}, claims(), USER_KEY.sign)[:7]
    + base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.e30",
    "too long": lambda: signed(claims(name="x" * 9000)),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_token_is_invalid(forgery: str) -> None:
    with pytest.raises(TokenInvalid):
        await verifier().caller(FORGERIES[forgery]())


async def test_one_changed_letter_makes_a_token_invalid() -> None:
    good, checker = signed(claims()), verifier()
    await checker.caller(good)
    for index in range(7, len(good) - 1, 5):  # the last letter has bits that base64 ignores
        changed = good[:index] + ("A" if good[index] != "A" else "B") + good[index + 1 :]
        with pytest.raises(TokenInvalid):
            await checker.caller(changed)


async def test_a_token_expires_also_when_it_was_verified_before() -> None:
    at = now()
    later = [at]
    checker = verifier(lambda: later[0])
    token = signed(claims(exp=int(at.timestamp()) + 60))
    for seconds, expired in ((0, False), (60, False), (64, False), (67, True), (67, True)):
        later[0] = at + timedelta(seconds=seconds)
        if expired:
            with pytest.raises(TokenExpired):
                await checker.caller(token)
            with pytest.raises(TokenExpired):
                await verifier(lambda: later[0]).caller(token)
        else:
            await checker.caller(token)


async def test_a_token_ends_with_its_key_however_long_it_says_to_be_good() -> None:
    """A key that leaked is withdrawn, and so is what was signed with it before: not only what nobody has seen yet."""
    at, jwks = now(), [USER_JWKS]

    async def fetch() -> str:
        return jwks[-1]

    checks = Verifier(
        FetchedKeys(fetch, lambda: at), fixed_keys("bookings", SERVICE_KEY), Revocations(nothing, lambda: at), lambda: at
    )
    authorization = signed(claims(exp=int(at.timestamp()) + 10 * 365 * 86_400))
    await checks.caller(authorization)
    jwks.append('{"keys": []}')
    assert checks.known(authorization)
    at += timedelta(seconds=KEYS_REFRESH_SECONDS + 1)
    assert checks.known(authorization) is None
    with pytest.raises(TokenInvalid, match=r"not \(any more\) in use"):
        await checks.caller(authorization)


async def test_a_services_token_is_made_again_before_it_expires() -> None:
    clock = [now()]
    token = ServiceToken("bookings", SERVICE_KEY, lambda: clock[0])
    first = token.bearer()
    clock[0] += timedelta(minutes=3)
    assert token.bearer() == first
    clock[0] += timedelta(minutes=1, seconds=1)
    second = token.bearer()
    assert second != first
    clock[0] += timedelta(minutes=2)
    await verifier(lambda: clock[0]).caller(second)


def method(scope: int, *, role: int = 0, reads: bool = False) -> MethodPolicy:
    """A policy."""
    retry = options_pb2.RETRY_CLASS_READ if reads else options_pb2.RETRY_CLASS_REQUEST_ID
    return MethodPolicy(scope=scope, role=role, retry=retry, permission="things.do")  # type: ignore[arg-type]  # numbers of enums


PUBLIC, CALLER = method(options_pb2.SCOPE_PUBLIC), method(options_pb2.SCOPE_CALLER)
SERVICES_ONLY = method(options_pb2.SCOPE_SERVICE)
PLATFORM, PLATFORM_READ = method(options_pb2.SCOPE_PLATFORM), method(options_pb2.SCOPE_PLATFORM, reads=True)
BY_AGENT, READ_BY_VIEWER = (
    method(options_pb2.SCOPE_STATION, role=AGENT),
    method(options_pb2.SCOPE_STATION, role=VIEWER, reads=True),
)
ROLELESS = method(options_pb2.SCOPE_STATION)
ONE, BOTH = [STATION], [STATION, OTHER_STATION]

DECISIONS = [
    (PUBLIC, ANYBODY, [], True),
    (CALLER, ANYBODY, [], False),
    (CALLER, user(), [], True),
    (CALLER, SERVICE, [], True),
    (SERVICES_ONLY, SERVICE, [], True),
    (SERVICES_ONLY, user(platform=ADMIN), [], False),
    (SERVICES_ONLY, ANYBODY, [], False),
    (PLATFORM, user(platform=ADMIN), [], True),
    (PLATFORM, user(platform=SUPPORT), [], False),
    (PLATFORM_READ, user(platform=SUPPORT), [], True),
    (PLATFORM, user(station=MANAGER), ONE, False),
    (PLATFORM_READ, user(station=MANAGER), ONE, False),
    (PLATFORM, SERVICE, [], False),
    (PLATFORM, ANYBODY, [], False),
    (BY_AGENT, user(station=AGENT), ONE, True),
    (BY_AGENT, user(station=MANAGER), ONE, True),
    (BY_AGENT, user(station=VIEWER), ONE, False),
    (BY_AGENT, user(other=MANAGER), ONE, False),
    (BY_AGENT, user(station=AGENT), [], False),
    (BY_AGENT, user(station=AGENT), BOTH, False),
    (BY_AGENT, user(station=AGENT, other=VIEWER), BOTH, False),
    (BY_AGENT, user(station=AGENT, other=AGENT), BOTH, True),
    (BY_AGENT, user(platform=ADMIN), ONE, True),
    (BY_AGENT, user(platform=SUPPORT), ONE, False),
    (READ_BY_VIEWER, user(platform=SUPPORT), ONE, True),
    (READ_BY_VIEWER, user(), ONE, False),
    (READ_BY_VIEWER, SERVICE, ONE, False),
    (READ_BY_VIEWER, ANYBODY, ONE, False),
    (ROLELESS, user(), ONE, False),
    (MethodPolicy(), user(platform=ADMIN), ONE, False),
]


@pytest.mark.parametrize(("policy", "caller", "tenants", "allowed"), DECISIONS)
def test_who_may_do_what(policy: MethodPolicy, caller: Caller, tenants: list[Any], allowed: bool) -> None:  # noqa: FBT001  # a column of the table
    if allowed:
        Permission(policy).require(caller, tenants)
    else:
        with pytest.raises(PermissionDenied) as refused:
            Permission(policy).require(caller, tenants)
        assert str(STATION) not in refused.value.message


def test_a_token_holds_no_more_than_it_has_to() -> None:
    token = access_token(key=USER_KEY, kid="k1", caller=user(station=AGENT), now=now(), lifetime=timedelta(minutes=15))
    content = jwt.decode(token, options={"verify_signature": False})
    assert sorted(content) == ["aud", "exp", "iat", "iss", "name", "platform", "roles", "sub"]
    assert content["roles"] == {str(STATION): AGENT}
