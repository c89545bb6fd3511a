"""What may happen at the owner: changes of the thing, its feed, purges, failovers."""

from collections.abc import Iterator

from tests.models.rules import Rules, Scenario
from tests.models.state import BEYOND, CLOSED, CLOSING, DELETED, LOST, NONE, OPEN, PURGED, PURGING, Asked, Branch, State

Steps = Iterator[tuple[str, State]]


def commit(branch: Branch, thing: str, scenario: Scenario) -> Branch:
    """The branch after a change, published at once unless the relay lags."""
    log = (*branch.log, thing)
    before = (*branch.before, branch.published)
    return branch._replace(log=log, before=before, published=branch.published if scenario.lag else len(log) - 1)


def changed(state: State, thing: str, scenario: Scenario, says: str) -> tuple[str, State]:
    """A change on the present branch, with its label."""
    present = commit(state.present, thing, scenario)
    return f"owner: {says}, version {present.version} of epoch {present.epoch}", state._replace(present=present)


def changes(state: State, rules: Rules, scenario: Scenario) -> Steps:
    """The thing is deleted, or undeleted."""
    thing = state.present.thing
    if state.present.version >= scenario.changes:
        return
    if thing == OPEN:
        yield changed(state, DELETED, scenario, "DELETED")
    if thing == DELETED or (thing in BEYOND and not rules.undelete_refused):
        yield changed(state, OPEN, scenario, "undeleted, OPEN")


def relay(state: State, scenario: Scenario) -> Steps:
    """The relay publishes what is committed, one event at a time."""
    if scenario.lag and (step := _published(state.present)):
        yield f"owner: {step[0]}", state._replace(present=step[1])
    if scenario.lag and state.deposed is not None and (step := _published(state.deposed)):
        yield f"deposed owner: {step[0]}", state._replace(deposed=step[1])


def _published(branch: Branch) -> tuple[str, Branch] | None:
    if branch.published == branch.version:
        return None
    after = branch._replace(published=branch.published + 1)
    return f"publishes version {after.published} ({after.log[after.published]})", after


def begins(state: State, rules: Rules, scenario: Scenario) -> Steps:
    """A call of Purge begins, or is taken up again; a second one, elsewhere, leaves the first one's memory alone."""
    present, asked = state.present, state.asked
    if present.thing not in (DELETED, PURGING):
        return
    void = asked is None or (asked.epoch, asked.version, asked.registry) != (present.epoch, present.version, state.registry)
    announces = rules.purge_announces if present.thing == DELETED else rules.tombstone_announced_again
    room = present.version < scenario.changes
    if announces and room:
        label, after = changed(state, present.thing, scenario, f"a purge begins, announces {present.thing} anew")
        if void:
            yield label, after._replace(asked=_ask(after))
        elif present.thing == DELETED:
            yield f"{label} (another call than the first)", after
    if not announces and void:
        yield f"owner: a purge begins at version {present.version} of epoch {present.epoch}", state._replace(asked=_ask(state))


def _ask(state: State) -> Asked:
    return Asked(state.present.epoch, state.present.version, state.registry, frozenset())


def counts(state: State, rules: Rules) -> Steps:
    """A registered referrer answers CountReferences with 0."""
    asked = state.asked
    if asked is None or state.present.thing not in (DELETED, PURGING):
        return
    for number in sorted(asked.registry - asked.zero):
        name, none_left = f"referrer {number}", _none_left(state, number)
        at = f"at version {asked.version} of epoch {asked.epoch}"
        answers = _answers(state, asked, number, rules) or not rules.errors_are_not_zero
        if not rules.count_after_look:
            if none_left and number not in asked.counted:
                yield f"{name}: counts 0, has not looked", state._replace(asked=asked._replace(counted=asked.counted | {number}))
            if answers and number in asked.counted:
                yield f"{name}: looks, is CLOSED {at}", state._replace(asked=asked._replace(zero=asked.zero | {number}))
        elif answers and none_left:
            yield f"{name}: counts 0 {at}", state._replace(asked=asked._replace(zero=asked.zero | {number}))


def _none_left(state: State, number: int) -> bool:
    db = state.referrers[number].db
    return db.restrict == NONE and (state.present.thing != PURGING or db.cascade == NONE)


def _answers(state: State, asked: Asked, number: int, rules: Rules) -> bool:
    known = state.referrers[number].db.known
    states = (CLOSED, PURGED) if rules.count_closed else (CLOSING, CLOSED, PURGED)
    return (
        known is not None
        and known.state in states
        and (known.epoch == asked.epoch or not rules.count_epoch)
        and (known.version == asked.version or not rules.count_version)
    )


def purges(state: State, rules: Rules, scenario: Scenario) -> Steps:
    """PURGING and PURGED: the transactions that lock the thing and the registry."""
    present, asked = state.present, state.asked
    if asked is None:
        return
    same_epoch, same_version = asked.epoch == present.epoch, asked.version == present.version
    same_registry = asked.registry == state.registry
    all_answered = asked.registry <= asked.zero
    if present.thing == DELETED:
        compared = (
            (same_epoch or not rules.purge_epoch)
            and (same_version or not rules.purge_version)
            and (same_registry or not rules.purge_registry)
        )
        published = present.published >= present.version or not rules.purge_published
        if compared and published and (all_answered or not rules.purge_asks):
            label, after = changed(state, PURGING, scenario, "PURGING")
            yield label, after._replace(asked=_ask(after))
    if present.thing == PURGING and same_epoch and same_version and (all_answered or not rules.purged_asks):
        log = (*present.log[:-1], PURGED)
        yield "owner: PURGED", state._replace(present=present._replace(log=log), asked=None)


def failovers(state: State, rules: Rules, scenario: Scenario) -> Steps:
    """A standby takes over, with a tail of commits, and of what was published, lost."""
    if state.failovers >= scenario.failovers:
        return
    old = state.present
    since = state.registered[-1] if scenario.newcomer else 0
    for kept in range(max(0, since) if rules.registration_durable else 0, old.version + 1):
        ends = {old.log[kept], PURGING} if old.log[kept] == PURGED else {old.log[kept]}
        later = old.published if kept == old.version else old.before[kept + 1]
        for thing in sorted(ends):
            for published in range(old.before[kept], min(kept, later) + 1):
                present = Branch(
                    log=(*old.log[:kept], thing),
                    published=published if scenario.lag else kept,
                    before=old.before[: kept + 1],
                    first=published + 1 if rules.epochs else 0,
                )
                label = f"FAILOVER: version {kept} ({thing}) is the last kept, {published} the last published"
                after = state._replace(present=present, deposed=old, failovers=state.failovers + 1)
                yield from _registrations(label, after, since, kept, rules, scenario)


def _registrations(label: str, state: State, since: int, kept: int, rules: Rules, scenario: Scenario) -> Steps:
    """What becomes of a registration that was made at version `since`, or not."""
    if since <= kept:
        yield label, state
    if scenario.newcomer and since >= kept and since >= 0 and not rules.registration_durable:
        yield f"{label}, the registration is lost", state._replace(registered=(*state.registered[:-1], LOST))


def deposed(state: State, scenario: Scenario) -> Steps:
    """A deposed primary that nobody has fenced goes on."""
    old = state.deposed
    if old is not None and scenario.deposed.undeletes and old.thing == DELETED and old.version < scenario.changes:
        after = commit(old, OPEN, scenario)
        yield f"deposed owner: undeleted, OPEN, version {after.version} of epoch 0", state._replace(deposed=after)


def moves(state: State, rules: Rules, scenario: Scenario) -> Steps:
    """All of it."""
    yield from changes(state, rules, scenario)
    yield from relay(state, scenario)
    yield from begins(state, rules, scenario)
    yield from counts(state, rules)
    yield from purges(state, rules, scenario)
    yield from failovers(state, rules, scenario)
    yield from deposed(state, scenario)
