"""What a referrer hears from owners: the feed, resynchronisation, answers to misses, heads."""

from collections.abc import Iterator

from tests.models.referrer import knowing, put
from tests.models.rules import Miss, Rules, Scenario
from tests.models.state import BEYOND, CLOSED, CLOSING, NEVER, OPEN, PURGED, Branch, Copy, Durable, Heard, Known, Referrer, State

Steps = Iterator[tuple[str, State]]
Speakers = list[tuple[str, Branch]]


def speakers(state: State, *, deposed: bool) -> Speakers:
    """Who may answer."""
    present = [("the owner", state.present)]
    return [*present, ("the deposed owner", state.deposed)] if deposed and state.deposed is not None else present


def goes_on(branch: Branch, db: Durable, rules: Rules) -> bool:
    """Whether an owner goes on from a cursor; else it says CURSOR_DIVERGED."""
    return branch.knows(db.epoch, db.position) and (branch.epoch == db.epoch or not rules.epoch_resyncs)


def reads(state: State, number: int, rules: Rules, speaking: Speakers) -> Steps:
    """The next event of a feed is applied, in the transaction that moves the cursor; or the cursor moves into an epoch."""
    referrer = state.referrers[number]
    db = referrer.db
    for name, branch in speaking:
        if not goes_on(branch, db, rules) and rules.cursor_checked:
            continue
        position = db.position + 1
        if position <= branch.published:
            epoch = branch.epoch_of(position)
            known = applied(db.known, epoch, position, branch.log[position], rules)
            after = referrer._replace(db=db._replace(known=known, epoch=epoch, position=position))
            label = f"referrer {number}: applies version {position} ({branch.log[position]}, epoch {epoch}) of {name}"
            yield label, put(state, number, after)
        elif db.epoch != branch.epoch:
            after = referrer._replace(db=db._replace(epoch=branch.epoch))
            yield f"referrer {number}: follows into epoch {branch.epoch} of {name}", put(state, number, after)


def applied(known: Known | None, epoch: int, version: int, thing: str, rules: Rules) -> Known | None:
    """The known row after an event: the first step of closing, or a reopening."""
    if known is None:
        newer = thing != OPEN and rules.markers_for_all
    else:
        other = known.epoch != epoch and rules.other_epoch_applies
        newer = other or version > known.version or not rules.higher_only
    if not newer:
        return known
    if thing == OPEN:
        return Known(epoch, version, OPEN)
    gone = thing in BEYOND
    return Known(epoch, version, PURGED if gone and not rules.purged_last else CLOSING, gone)


def copies(state: State, number: int, rules: Rules, scenario: Scenario, speaking: Speakers) -> Steps:
    """A cursor has diverged: take the head, take the state, replace. Another process may be doing the same."""
    referrer = state.referrers[number]
    db, copy = referrer.db, referrer.copy
    cursor, whole = (db.epoch, db.position), copy is not None and copy.head is not None and copy.version is not None
    for name, branch in speaking:
        diverged = not goes_on(branch, db, rules) and not (rules.left_stays_left and branch.epoch < db.epoch)
        if diverged and (copy is None or copy.old != cursor):
            taken = _advance(Copy(cursor, branch.epoch), branch, rules)
        elif copy is not None and not whole and copy.epoch == branch.epoch:
            taken = _advance(copy, branch, rules)
        else:
            taken = None
        if taken is not None:
            yield (
                f"referrer {number}: resynchronises with {name}: {_read(taken)}",
                put(state, number, referrer._replace(copy=taken)),
            )
        if diverged and copy is not None and scenario.processes:
            other = _advance(_advance(Copy(cursor, branch.epoch), branch, rules), branch, rules)
            label, after = _replaced(referrer, other, rules)
            yield f"referrer {number}, another process: resynchronises with {name}, {label}", put(state, number, after)
    if copy is not None and whole and (copy.old == cursor or not rules.copy_fenced):
        label, after = _replaced(referrer, copy, rules)
        yield f"referrer {number}: {label}", put(state, number, after._replace(copy=None))


def _replaced(referrer: Referrer, copy: Copy, rules: Rules) -> tuple[str, Referrer]:
    """The end of a resynchronisation."""
    head, version = copy.head or 0, copy.version or 0
    known = _copied(copy.epoch, version, copy.state, referrer.db.known, rules)
    after = referrer._replace(db=referrer.db._replace(known=known, epoch=copy.epoch, position=head))
    return f"replaces what it knows: {_row(known)}", after


def _advance(copy: Copy, branch: Branch, rules: Rules) -> Copy:
    if copy.head is None and (rules.head_first or copy.version is not None):
        return copy._replace(head=branch.published)
    return copy._replace(version=branch.version, state=branch.thing)


def _read(copy: Copy) -> str:
    head, version = f"head {copy.head}", f"version {copy.version} ({copy.state})"
    return f"reads {version if copy.head is None else head if copy.version is None else f'{head} and {version}'}"


def _copied(epoch: int, version: int, thing: str, known: Known | None, rules: Rules) -> Known | None:
    if thing == OPEN:
        return None if known is None else Known(epoch, version, OPEN)
    return Known(epoch, version, CLOSING if rules.copy_two_steps else CLOSED, thing in BEYOND)


def _row(known: Known | None) -> str:
    return "nothing" if known is None else f"{known.state} at version {known.version} of epoch {known.epoch}"


def misses(state: State, number: int, rules: Rules, speaking: Speakers) -> Steps:
    """A miss's question, its answer, which may take any time, and the answer's end."""
    referrer = state.referrers[number]
    db, miss = referrer.db, referrer.miss
    if db.known is None or rules.miss is not Miss.NOTHING:
        for name, branch in speaking:
            heard = Heard(branch.epoch, branch.version, branch.thing)
            if heard != miss:
                label = f"referrer {number}: asks {name}, is answered {heard.state}, version {heard.version} of epoch {heard.epoch}"
                yield label, put(state, number, referrer._replace(miss=heard))
    if miss is None or (miss.epoch != db.epoch and rules.miss_epoch) or (miss.state != OPEN and rules.miss_open_only):
        return
    if db.known is None or _replaces(db.known, miss, rules):
        closed = PURGED if miss.state == PURGED else CLOSED
        known = Known(miss.epoch, miss.version, OPEN if miss.state == OPEN else closed, miss.state in BEYOND)
        after = knowing(referrer, known)._replace(miss=None)
        yield f"referrer {number}: stores the answer, {_row(known)}", put(state, number, after)


def _replaces(known: Known, miss: Heard, rules: Rules) -> bool:
    higher = known.epoch != miss.epoch or known.version < miss.version
    return rules.miss is Miss.REPLACE or (rules.miss is Miss.RAISE and higher)


def handshakes(state: State, number: int, rules: Rules, speaking: Speakers) -> Steps:
    """After a restart: a head is asked for, and once everything up to it is applied the referrer is ready."""
    referrer = state.referrers[number]
    db, head = referrer.db, referrer.head
    asks = not db.ready or not rules.head_fresh
    registered = state.registered[number] != NEVER or not (rules.head_after_registration and rules.registers_first)
    if asks and registered and rules.ready:
        for name, branch in speaking:
            heard = Heard(branch.epoch, branch.published)
            if heard != head:
                label = f"referrer {number}: hears from {name} of head {heard.version} in epoch {heard.epoch}"
                yield label, put(state, number, referrer._replace(head=heard))
    if db.ready or head is None or not (head.fresh or not rules.head_fresh):
        return
    if (db.epoch == head.epoch and db.position >= head.version) or not rules.head_applied:
        after = referrer._replace(db=db._replace(ready=True), head=None)
        yield f"referrer {number}: is ready, by head {head.version} of epoch {head.epoch}", put(state, number, after)
