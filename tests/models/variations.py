"""For each rule, a scenario in which something happens without it, and what must be seen on the way there."""

from dataclasses import dataclass, replace
from typing import Any

from tests.models.rules import Miss, Rules, Scenario, Step2
from tests.models.scenarios import LONG, SCENARIOS


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """A rule left out."""

    rule: str
    says: str
    where: str
    without: dict[str, Any]
    steps: tuple[str, ...]
    """Parts of the trace, in this order."""
    ends: str
    """What is wrong then: `purged` (rows refer to it), `kept` (CASCADE of what lives), `disagrees`, or `never` (a dead end)."""

    @property
    def rules(self) -> Rules:
        return Rules(**self.without)

    @property
    def scenario(self) -> Scenario:
        return replace((SCENARIOS | LONG)[self.where], agreement=self.ends == "disagrees")


ENDS = {
    "purged": "row of referrer 0 refers to what is PURG",
    "kept": "CASCADE has removed a row of what is OPEN",
    "disagrees": "has applied everything, and its row says",
    "never": "nothing leads to the end any more",
}


def _left_out(rule: str, says: str, where: str, *steps: str, ends: str = "purged", **without: Any) -> Variation:
    return Variation(rule=rule, says=says, where=where, without=without, steps=steps, ends=ends)


AS_WRITTEN = (
    _left_out("1", "no lock", "one referrer", "stays open", "CLOSED", "counts 0", "PURGING", "commits", lock=False),
    _left_out("1", "no guard", "one referrer", "CLOSED", "PURGING", "stays open", "commits", guard=False),
    _left_out(
        "1", "a miss replaces what is there", "one referrer", "answered OPEN", "CLOSED", "counts 0", "stores the answer, OPEN",
        miss=Miss.REPLACE,
    ),
    _left_out(
        "1", "a miss raises what is there", "one referrer", "stays open", "stores the answer, CLOSED", "counts 0", "commits",
        miss=Miss.RAISE, miss_open_only=False,
    ),
    _left_out(
        "1", "a miss of any epoch is stored", "failover, misses", "FAILOVER", "stores the answer, CLOSED at version 2 of epoch 1",
        "replaces what it knows: OPEN", miss_epoch=False, miss_open_only=False,
    ),
    _left_out(
        "1, 2", "REPEATABLE READ, and step 2 changes no key column", "repeatable read", "takes its snapshot", "CLOSED", "counts 0",
        "its snapshot says OPEN", step2=Step2.WAIT,
    ),
    _left_out("2", "step 2 waits for nobody", "one referrer", "stays open", "CLOSED", "counts 0", "commits", step2=Step2.PLAIN),
    _left_out(
        "2", "versions are compared across epochs", "failover, misses", "answered OPEN, version 2 of epoch 0", "FAILOVER",
        "applies version 1 (DELETED, epoch 1)", ends="disagrees", other_epoch_applies=False,
    ),
    _left_out(
        "2", "a lower version applies", "failover, four changes", "FAILOVER", "replaces what it knows: CLOSING at version 4",
        "PURGING, version 5", "applies version 2 (OPEN", higher_only=False,
    ),
    _left_out(
        "3", "markers are deleted", "misses", "answered OPEN", "counts 0", "deletes its known row (CL",
        "stores the answer, OPEN", markers_stay=False,
    ),
    _left_out(
        "3", "no markers for what was never used", "newcomer", "answered OPEN", "applies version 2 (DELETED",
        "stores the answer, OPEN",
        markers_for_all=False,
    ),
    _left_out("4", "CLOSING answers", "one referrer", "stays open", "applies version 2", "counts 0", "commits", count_closed=False),
    _left_out(
        "4", "any version answers", "one referrer", "CLOSED at version 1", "counts 0 at version 4", "applies version 2 (OPEN",
        count_version=False,
    ),
    _left_out(
        "4", "any epoch answers", "failover", "FAILOVER", "CLOSED at version 2 of epoch 0", "counts 0 at version 2 of epoch 1",
        count_epoch=False,
    ),
    _left_out("4", "an error counts as 0", "one referrer", "DELETED", "counts 0", "PURGING", "commits", errors_are_not_zero=False),
    _left_out("5", "DELETED is not announced anew", "failover", "FAILOVER", "of epoch 1", ends="never", purge_announces=False),
    _left_out(
        "5", "PURGING does not compare the version", "one referrer", "counts 0 at version 2", "PURGING, version 5", "(OPEN",
        purge_version=False,
    ),
    _left_out(
        "5", "PURGING does not compare the epoch", "failover", "of epoch 0", "FAILOVER", "PURGING, version 3 of epoch 1",
        purge_epoch=False,
    ),
    _left_out("5", "PURGING asks nobody", "one referrer", "DELETED", "PURGING", "commits", purge_asks=False),
    _left_out(
        "5", "undeleted after PURGING", "one referrer", "PURGING", "undeleted", "CASCADE removes", ends="kept",
        undelete_refused=False,
    ),
    _left_out("5", "PURGED asks nobody", "one referrer", "commits a CASCADE row", "PURGING", "owner: PURGED", purged_asks=False),
    _left_out("5", "PURGED is marked before CASCADE", "one referrer", "CASCADE", "(PURGING", ends="never", purged_last=False),
    _left_out(
        "6", "it writes before it registers", "newcomer, lagging relay", "answered OPEN", "PURGING", "is ready", "commits",
        registers_first=False,
    ),
    _left_out(
        "6", "it registers during a purge", "newcomer", "hears from the owner of head 0", "PURGING", "registers", "commits",
        registration_waits=False, head_after_registration=False,
    ),
    _left_out(
        "6", "PURGING does not compare the registry", "newcomer, lagging relay", "a purge begins", "registers", "PURGING",
        "commits",
        purge_registry=False,
    ),
    _left_out("7", "no handshake", "restored", "counts 0", "PURGING", "RESTORED", "commits", ready=False),
    _left_out(
        "7", "a head from before the restart", "restored", "of head 0", "PURGING", "RESTORED", "is ready, by head 0", "commits",
        head_fresh=False,
    ),
    _left_out(
        "7", "not everything applied up to the head", "restored", "PURGING", "RESTORED", "is ready, by head 3", "commits",
        head_applied=False,
    ),
    _left_out("feed", "no new epoch after a failover", "failover", "FAILOVER", "commits", epochs=False),
    _left_out(
        "feed", "a cursor past its epoch goes on", "failover, two processes", "FAILOVER", "follows into epoch 1", ends="disagrees",
        cursor_checked=False,
    ),
    _left_out(
        "feed", "resynchronisation reads the state before the head", "failover, four changes", "reads version 0 (OPEN)",
        "reads head 1 and version 0 (OPEN)", "replaces what it knows: OPEN", ends="disagrees", head_first=False,
    ),
)  # fmt: skip
MENDED = (
    _left_out(
        "1", "a CLOSED answer is stored", "misses", "answered DELETED", "undeleted", "deletes its known row (OPEN)",
        "stores the answer, CLOSED", ends="disagrees", miss_open_only=False,
    ),
    _left_out(
        "1, 5", "a CLOSED answer is stored, and acknowledges what was never published", "failover, late relay",
        "stores the answer, CLOSED", "counts 0", "FAILOVER: version 5 (PURGING) is the last kept, 1",
        "applies version 2 (OPEN, epoch 1)",
        miss_open_only=False, purge_published=False,
    ),
    _left_out(
        "4", "what is left is counted before the known row is looked at", "one referrer",
        "counts 0, has not looked", "stays open", "commits", "looks, is CLOSED", "PURGING",
        count_after_look=False,
    ),
    _left_out(
        "5", "PURGING before its announcement is published", "newcomer, lagging relay", "owner: PURGED", "registers",
        "is ready, by head 0", "commits", purge_published=False,
    ),
    _left_out(
        "5", "a tombstone is not announced anew", "failover", "PURGING", "FAILOVER", "a purge begins at version 3 of epoch 1",
        ends="never", tombstone_announced_again=False,
    ),
    _left_out(
        "5", "that CASCADE is due is not durable", "one referrer", "PURGING", "its process is killed", ends="never",
        tombstone_kept=False,
    ),
    _left_out(
        "6", "a failover loses the registration", "newcomer, failover", "registers", "the registration is lost", "PURGING",
        "commits",
        registration_durable=False,
    ),
    _left_out(
        "7", "the head is older than the registration", "newcomer", "of head 0", "owner: PURGED", "registers",
        "is ready, by head 0",
        "commits", head_after_registration=False,
    ),
    _left_out(
        "feed", "a resynchronisation is not fenced by the cursor", "failover, two processes", "reads head 0 and version 0 (OPEN)",
        "another process", "counts 0", "replaces what it knows: OPEN", copy_fenced=False,
    ),
    _left_out(
        "feed", "a resynchronisation closes in one step, and waits for nobody", "failover",
        "stays open", "replaces what it knows: CLOSED", "counts 0", "PURGING", "commits",
        copy_two_steps=False,
    ),
    _left_out(
        "feed", "a consumer follows an epoch again that it has left", "failover, deposed owner", "counts 0 at version 2 of epoch 1",
        "resynchronises with the deposed owner", "replaces what it knows: OPEN at version 0 of epoch 0", left_stays_left=False,
    ),
)  # fmt: skip
MENDS = (
    "miss_open_only", "purge_published", "tombstone_announced_again", "tombstone_kept", "registration_durable",
    "head_after_registration", "copy_fenced", "left_stays_left",
)  # fmt: skip
WRITTEN = Rules(**dict.fromkeys(MENDS, False))  # type: ignore[arg-type]  # each of them is a bool
"""The rules as the design has them, without what this model added; where they can be read in two ways, read well."""
