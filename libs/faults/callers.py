"""Who calls, and with what token."""

from faults.kinds import Unauthenticated


class TokenMissing(Unauthenticated):
    """No token came with the call."""

    reason = "TOKEN_MISSING"
    common = True


class TokenInvalid(Unauthenticated):
    """The token is damaged, of another issuer, or signed with an unknown key."""

    reason = "TOKEN_INVALID"
    common = True


class TokenExpired(Unauthenticated):
    """The token was good once."""

    reason = "TOKEN_EXPIRED"
    common = True
