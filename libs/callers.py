"""Who is calling: what the token said, checked. Nothing here knows how it was sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

PLATFORM_ADMIN = 2
"""As teppan.common.v1.PlatformRole numbers it, for rules that know no protos."""


class Kind(StrEnum):
    """What sort of caller it is."""

    ANYBODY = "anybody"
    USER = "user"
    SERVICE = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A caller whose token was verified, or anybody where a method asks for no token."""

    kind: Kind
    subject: str = ""
    """The user's ID as text, or the service's name."""
    name: str = ""
    platform_role: int = 0
    """A value of `teppan.common.v1.PlatformRole`."""
    roles: Mapping[UUID, int] = field(default_factory=dict)
    """A value of `teppan.common.v1.Role` for each tenant."""
    shown: str = field(init=False, compare=False, default="")
    """As the log has it; made once, since a caller is kept for as long as its token."""

    def __post_init__(self) -> None:
        """Puts `shown` together."""
        object.__setattr__(self, "shown", f"{self.kind}:{self.subject}")

    @property
    def user_id(self) -> UUID | None:
        """The ID of the person, where it is one."""
        return UUID(self.subject) if self.kind is Kind.USER else None

    @property
    def administers_platform(self) -> bool:
        """Whether they may do what only the platform's administrators may."""
        return self.platform_role == PLATFORM_ADMIN


ANYBODY = Caller(kind=Kind.ANYBODY)
