"""What may happen at a referrer, but for what it hears from owners (see `hearing`)."""

from collections.abc import Iterator

from tests.models.rules import Rules, Scenario, Step2
from tests.models.state import (
    BACK,
    CLOSED,
    CLOSING,
    NEVER,
    NONE,
    OPEN,
    PURGED,
    PURGING,
    ROW,
    Known,
    Referrer,
    State,
    Write,
)

Steps = Iterator[tuple[str, State]]
COLUMN = {"R": "restrict", "C": "cascade"}
WORD = {"R": "a RESTRICT row", "C": "a CASCADE row"}


def put(state: State, number: int, referrer: Referrer) -> State:
    """The state with a referrer replaced."""
    referrers = state.referrers
    return state._replace(referrers=(*referrers[:number], referrer, *referrers[number + 1 :]))


def knowing(referrer: Referrer, known: Known | None) -> Referrer:
    """The referrer with its known row replaced."""
    return referrer._replace(db=referrer.db._replace(known=known))


def writes(state: State, number: int, rules: Rules, scenario: Scenario) -> Steps:
    """A transaction that refers begins; at READ COMMITTED the trigger decides by the row as it is, else by the snapshot."""
    referrer = state.referrers[number]
    known, write = referrer.db.known, referrer.write
    if known is not None and write is None and _may_write(state, number, known, rules):
        for kind in scenario.kinds[number]:
            if getattr(referrer.db, COLUMN[kind]) == NONE:
                begun = Write(kind, checked=not scenario.snapshots)
                does = "takes its snapshot" if scenario.snapshots else "inserts it, and stays open"
                yield (
                    f"referrer {number}: a transaction with {WORD[kind]} {does}",
                    put(state, number, referrer._replace(write=begun)),
                )
    if write is not None and not write.checked:
        after = put(state, number, referrer._replace(write=write._replace(checked=True)))
        yield f"referrer {number}: inserts {WORD[write.kind]}, its snapshot says OPEN, and stays open", after


def _may_write(state: State, number: int, known: Known, rules: Rules) -> bool:
    return (
        (known.state == OPEN or not rules.guard)
        and (state.referrers[number].db.ready or not rules.ready)
        and (state.registered[number] != NEVER or not rules.registers_first)
    )


def commits(state: State, number: int) -> Steps:
    """An open transaction commits, whenever it likes."""
    referrer = state.referrers[number]
    if referrer.write is not None and referrer.write.checked:
        db = referrer.db._replace(restrict=ROW) if referrer.write.kind == "R" else referrer.db._replace(cascade=ROW)
        yield f"referrer {number}: commits {WORD[referrer.write.kind]}", put(state, number, referrer._replace(db=db, write=None))


def removals(state: State, number: int) -> Steps:
    """A RESTRICT row is removed, by whoever may."""
    referrer = state.referrers[number]
    if referrer.db.restrict != NONE:
        after = put(state, number, referrer._replace(db=referrer.db._replace(restrict=NONE)))
        yield f"referrer {number}: removes its RESTRICT row", after


def closes(state: State, number: int, rules: Rules) -> Steps:
    """The second step of closing. A changed key column fails what has an older snapshot: it is as if it had never begun."""
    referrer = state.referrers[number]
    known, write = referrer.db.known, referrer.write
    if known is None or known.state != CLOSING:
        return
    locked = rules.lock and write is not None and write.checked
    if locked and rules.step2 is not Step2.PLAIN:
        return
    fails = rules.step2 is Step2.FENCE and write is not None and not write.checked
    after = knowing(referrer, known._replace(state=CLOSED))
    label = f"referrer {number}: CLOSED at version {known.version} of epoch {known.epoch}"
    yield label, put(state, number, after._replace(write=None) if fails else after)


def cascades(state: State, number: int, rules: Rules, scenario: Scenario) -> Steps:
    """After the tombstone: CASCADE, and last PURGED."""
    referrer = state.referrers[number]
    known = referrer.db.known
    if known is None or not known.gone or known.state != CLOSED:
        return
    if referrer.db.cascade != NONE:
        after = referrer._replace(db=referrer.db._replace(cascade=NONE))
        yield f"referrer {number}: CASCADE removes a row", put(state, number, after)._replace(cascaded=True)
    else:
        yield f"referrer {number}: PURGED", put(state, number, knowing(referrer, known._replace(state=PURGED)))
    if not rules.tombstone_kept and state.crashes < scenario.crashes:
        after = knowing(referrer, known._replace(gone=False))
        yield f"referrer {number}: its process is killed", put(state, number, after)._replace(crashes=state.crashes + 1)


def forgets(state: State, number: int, rules: Rules, scenario: Scenario) -> Steps:
    """A known row is deleted that nothing refers to."""
    referrer = state.referrers[number]
    db = referrer.db
    unused = db.restrict == NONE and db.cascade == NONE and referrer.write is None
    if db.known is not None and unused and ((db.known.state == OPEN and scenario.forget) or not rules.markers_stay):
        yield f"referrer {number}: deletes its known row ({db.known.state})", put(state, number, knowing(referrer, None))


def registers(state: State, number: int, rules: Rules) -> Steps:
    """A service registers with the owner."""
    if state.registered[number] < 0 and (state.present.thing != PURGING or not rules.registration_waits):
        registered = (*state.registered[:number], state.present.version, *state.registered[number + 1 :])
        yield f"referrer {number}: registers", state._replace(registered=registered)


def restores(state: State, number: int, rules: Rules, scenario: Scenario) -> Steps:
    """A backup is made; the database is restored to it (or restarted). The processes, and what they have heard, live on."""
    referrer = state.referrers[number]
    if state.restores >= scenario.restores:
        return
    if referrer.backup is None:
        yield f"referrer {number}: a backup is made", put(state, number, referrer._replace(backup=referrer.db))
        return
    db = referrer.backup._replace(
        restrict=_back(referrer.backup.restrict, referrer.db.restrict),
        cascade=_back(referrer.backup.cascade, referrer.db.cascade),
        ready=False,
    )
    head = referrer.head._replace(fresh=False) if referrer.head is not None and not rules.head_fresh else None
    after = referrer._replace(db=db, write=None, head=head, backup=None)
    yield f"referrer {number}: RESTORED to its backup", put(state, number, after)._replace(restores=state.restores + 1)


def _back(backup: str, present: str) -> str:
    return BACK if backup == ROW and present == NONE else backup
