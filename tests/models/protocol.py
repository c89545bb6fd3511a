"""The reference protocol as a model: an owner, referrers, and what must never be seen."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain

from tests.models import hearing, owner, referrer
from tests.models.rules import Deposed, Rules, Scenario
from tests.models.state import BEYOND, NEVER, OPEN, PURGED, ROW, Branch, Durable, Known, Referrer, State

Steps = Iterable[tuple[str, State]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Rules in a scenario."""

    rules: Rules
    scenario: Scenario

    def initial(self) -> Steps:
        """Nothing refers to the thing; by default it is OPEN, at version 0."""
        known = Known(0, 0, OPEN) if self.scenario.known else None
        count = len(self.scenario.kinds)
        members, referrers = [0] * count, [Referrer(Durable(known))] * count
        if self.scenario.newcomer:
            members[-1], referrers[-1] = NEVER, Referrer(Durable(known, ready=False))
        log = self.scenario.history
        published = 0 if self.scenario.lag else len(log) - 1
        before = tuple(min(published, max(0, version - 1)) for version in range(len(log)))
        yield "", State(Branch(log, published, before), None, tuple(members), None, tuple(referrers))

    def steps(self, state: State) -> Steps:
        """Whatever may happen."""
        for label, after in chain(owner.moves(state, self.rules, self.scenario), self._at_referrers(state)):
            yield label, self._settled(after)

    def _settled(self, state: State) -> State:
        """Without what can have no effect any more: it would only multiply the states."""
        rules, present, asked, deposed = self.rules, state.present, state.asked, self.scenario.deposed
        void = asked is not None and (asked.epoch, asked.version) != (present.epoch, present.version)
        if void and rules.purge_epoch and rules.purge_version:
            state = state._replace(asked=None)
        if state.deposed is not None and deposed == Deposed():
            state = state._replace(deposed=None)
        return state

    def _at_referrers(self, state: State) -> Steps:
        for number in range(len(state.referrers)):
            yield from self._refers(state, number)
            yield from self._hears(state, number)

    def _refers(self, state: State, number: int) -> Steps:
        rules, scenario = self.rules, self.scenario
        yield from referrer.writes(state, number, rules, scenario)
        yield from referrer.commits(state, number)
        yield from referrer.removals(state, number)
        yield from referrer.closes(state, number, rules)
        yield from referrer.cascades(state, number, rules, scenario)
        yield from referrer.forgets(state, number, rules, scenario)
        yield from referrer.registers(state, number, rules)
        yield from referrer.restores(state, number, rules, scenario)

    def _hears(self, state: State, number: int) -> Steps:
        rules, deposed = self.rules, self.scenario.deposed
        yield from hearing.reads(state, number, rules, hearing.speakers(state, deposed=deposed.feed))
        yield from hearing.copies(state, number, rules, self.scenario, hearing.speakers(state, deposed=deposed.copies))
        yield from hearing.misses(state, number, rules, hearing.speakers(state, deposed=deposed.checks))
        yield from hearing.handshakes(state, number, rules, hearing.speakers(state, deposed=deposed.heads))

    def broken(self, state: State) -> str | None:
        """What must never be: on the branch of the present primary, whatever a deposed one believes."""
        thing = state.present.thing
        for number, one in enumerate(state.referrers):
            if thing in BEYOND and one.db.restrict == ROW:
                return f"a RESTRICT row of referrer {number} refers to what is {thing}"
            if thing == PURGED and one.db.cascade == ROW:
                return f"a CASCADE row of referrer {number} refers to what is PURGED"
        if state.cascaded and not state.failovers and thing not in BEYOND:
            return f"CASCADE has removed a row of what is {thing}"
        return self._disagreeing(state) if self.scenario.agreement else None

    def _disagreeing(self, state: State) -> str | None:
        """Who has applied everything, and still takes for OPEN what is not, or the other way round."""
        present, thing = state.present, state.present.thing
        if present.version < present.first and not self.scenario.strict:
            return None
        for number, one in enumerate(state.referrers):
            known, caught_up = one.db.known, (one.db.epoch, one.db.position) == (present.epoch, present.version)
            if known is not None and caught_up and (known.state == OPEN) != (thing == OPEN):
                return f"referrer {number} has applied everything, and its row says {known.state} of what is {thing}"
        return None

    def ended(self, state: State) -> bool:
        """The purge has completed."""
        return state.present.thing == PURGED

    def helpful(self, state: State) -> tuple[str, State] | None:
        """One step towards PURGED, without faults and without bounds: what is open ends, feeds are followed, the purge goes on."""
        rules, calm = self.rules, replace(self.scenario, changes=1_000, failovers=0, restores=0, crashes=0, deposed=Deposed())
        now = hearing.speakers(state, deposed=False)
        for number in range(len(state.referrers)):
            own = chain(
                referrer.commits(state, number),
                referrer.removals(state, number),
                hearing.reads(state, number, rules, now),
                hearing.copies(state, number, rules, calm, now),
                referrer.closes(state, number, rules),
                referrer.cascades(state, number, rules, calm),
            )
            if step := next(iter(own), None):
                return step
        if state.present.thing == OPEN:
            return next(iter(owner.changes(state, rules, calm)), None)
        purge = chain(
            owner.relay(state, calm), owner.purges(state, rules, calm), owner.counts(state, rules), owner.begins(state, rules, calm)
        )
        return next(iter(purge), None)
