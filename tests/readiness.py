"""A service that has caught up with an owner, where no feed is followed."""

from uuid import UUID

from referring import Rule
from rpccommon.registry import registry


def columns(service: str, owner: str) -> list[str]:
    """What a service registers with an owner."""
    return [each.place for each in registry() if (each.service, each.owner) == (service, owner) and each.rule is not Rule.KEEP]


def caught_up(service: str, owner: str, epoch: UUID, *, cursor: str = "") -> str:
    """The statement after which a fresh database of a service is ready to refer to what its owner has."""
    listed = ", ".join(f"'{column}'" for column in columns(service, owner))
    return (
        f"INSERT INTO {service}.feed_state (owner, cursor, epoch, ready_incarnation, ready_columns)"
        f" VALUES ('{owner}', nullif('{cursor}', ''), '{epoch}', {service}.incarnation(), ARRAY[{listed}]::text[])"
    )
