"""Users: made, kept out, let in again; and the first of them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from callers import Caller
from dbcommon.database import Database, Transaction
from dbcommon.feed import Event
from dbcommon.private import Keyring
from dbcommon.references import Referent
from dbcommon.requests import Requests
from dbcommon.tenancy import NO_TENANT
from identity.domain.users import BEYOND, NewUser, State, User, changed, enrol
from identity.store import events
from identity.store import users as store

EVENT_TYPE = "identity.User"


class Passwords(Protocol):
    """Slow hashes of passwords; each call takes a tenth of a second of a core, and raises LoginBusy where too many wait."""

    async def hash(self, password: str) -> str:
        """A hash to be stored."""

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the one; without a hash: the same work, and no."""

    def outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than those of today."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Which user is to change their state. An empty etag matches any version."""

    user_id: UUID
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """The calls of UsersService. `requests` are those of the platform; `encode` makes the payload of an event."""

    platform: Database
    requests: Requests
    keyring: Keyring
    passwords: Passwords
    encode: Callable[[User], bytes]
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]

    async def create(self, caller: Caller, wanted: NewUser, *, request_id: UUID) -> User:
        """Raises EmailTaken, LoginBusy."""
        request = self.requests.request(caller, "CreateUser", tenant=NO_TENANT, request_id=request_id, content=wanted)
        user = enrol(wanted, user_id=self.new_id(), now=self.now())

        async def attempt() -> User:
            password_hash = await self.passwords.hash(wanted.password)
            async with self.platform.transaction() as tx:
                await self.requests.begin(tx, request, made=user.user_id)
                return await self._insert(tx, user, password_hash)

        return await self.requests.once(request, attempt, self.get)

    async def disable(self, caller: Caller, wanted: Change, *, request_id: UUID) -> User:
        """Raises UserNotFound, UserState, EtagStale. A login that is under way has ended before, or is refused."""
        return await self._change(caller, "DisableUser", State.DISABLED, wanted, request_id)

    async def enable(self, caller: Caller, wanted: Change, *, request_id: UUID) -> User:
        """Raises UserNotFound, UserState, EtagStale."""
        return await self._change(caller, "EnableUser", State.ACTIVE, wanted, request_id)

    async def _change(self, caller: Caller, method: str, state: State, wanted: Change, request_id: UUID) -> User:
        request = self.requests.request(caller, method, tenant=NO_TENANT, request_id=request_id, content=wanted)

        async def attempt() -> User:
            async with self.platform.transaction() as tx:
                await self.requests.begin(tx, request, made=wanted.user_id)
                present = await store.get_user(tx, self.keyring, wanted.user_id, lock=True)
                await events.expect_epoch(tx)
                user = changed(present, state, etag=wanted.etag, now=self.now())
                await store.save_state(tx, user)
                await self.announce(tx, user)
                return user

        return await self.requests.once(request, attempt, self.get)

    async def bootstrap(self, wanted: NewUser) -> tuple[UUID, bool]:
        """An active administrator of the platform, and whether it was made now: only where there was none. Raises EmailTaken."""
        user = enrol(wanted, user_id=self.new_id(), now=self.now())
        password_hash = await self.passwords.hash(wanted.password)
        async with self.platform.transaction() as tx:
            await store.lock_first_administrator(tx)
            if (present := await store.any_administrator(tx)) is not None:
                return present, False
            await self._insert(tx, user, password_hash)
            return user.user_id, True

    async def _insert(self, tx: Transaction, user: User, password_hash: str) -> User:
        await store.insert_user(tx, self.keyring, user, password_hash=password_hash)
        await self.announce(tx, user)
        return user

    async def announce(self, tx: Transaction, user: User) -> None:
        """Tells other services of a user whose row is inserted or locked."""
        event = Event(
            event_id=self.new_id(),
            type=EVENT_TYPE,
            entity_id=user.user_id,
            version=user.version,
            referent_state=referent_state(user),
            payload=self.encode(user),
        )
        await events.announce(tx, event)

    async def get(self, user_id: UUID) -> User:
        """Raises UserNotFound."""
        return await store.get_user(self.platform, self.keyring, user_id)


def referent_state(user: User) -> Referent:
    """Whether anything new may refer to a user, and whether it is for ever that nothing may."""
    if user.state in BEYOND:
        return Referent.PURGED
    return Referent.OPEN if user.state is State.ACTIVE else Referent.CLOSED
