"""The scenarios in which the rules are tried: those of every run, and longer ones."""

from tests.models.rules import Deposed, Scenario

DEPOSED = Deposed(undeletes=True, checks=True, feed=True)
DEPOSED_AND_ASKED = Deposed(undeletes=True, checks=True, feed=True, heads=True, copies=True)

SCENARIOS = {
    "one referrer": Scenario(kinds=("RC",), crashes=1, agreement=True),
    "misses": Scenario(kinds=("RC",), known=False, forget=True, agreement=True),
    "two referrers": Scenario(kinds=("R", "RC"), changes=3, agreement=True),
    "repeatable read": Scenario(snapshots=True, agreement=True),
    "failover": Scenario(kinds=("RC",), failovers=1, changes=3, agreement=True),
    "failover, four changes": Scenario(failovers=1, agreement=True),
    "failover, misses": Scenario(failovers=1, changes=3, known=False, forget=True, agreement=True),
    "failover, lagging relay": Scenario(failovers=1, changes=2, lag=True, agreement=True),
    "failover, two processes": Scenario(failovers=1, changes=3, processes=True, agreement=True),
    "failover, deposed owner checks": Scenario(
        failovers=1, changes=2, known=False, deposed=Deposed(undeletes=True, checks=True), agreement=True
    ),
    "failover, deposed owner": Scenario(failovers=1, changes=2, deposed=DEPOSED_AND_ASKED, agreement=True),
    "restored": Scenario(kinds=("RC",), restores=1, changes=3, agreement=True),
    "restored, misses": Scenario(restores=1, changes=2, known=False, forget=True, agreement=True),
    "restored, failover": Scenario(failovers=1, restores=1, changes=2, agreement=True),
    "newcomer": Scenario(newcomer=True, changes=3, known=False, agreement=True),
    "newcomer, lagging relay": Scenario(newcomer=True, changes=2, known=False, lag=True, agreement=True),
    "newcomer, failover": Scenario(newcomer=True, changes=2, failovers=1, agreement=True),
}
LONG = {
    "two referrers, all columns": Scenario(kinds=("RC", "RC"), agreement=True),
    "two referrers, failover": Scenario(kinds=("R", "R"), failovers=1, changes=2, agreement=True),
    "failover, lagging relay, three changes": Scenario(failovers=1, changes=3, lag=True, agreement=True),
    "failover, late relay": Scenario(
        failovers=1, known=False, lag=True, history=("OPEN", "DELETED", "OPEN", "DELETED"), agreement=True
    ),
    "failover, deposed owner, misses": Scenario(failovers=1, changes=3, known=False, deposed=DEPOSED_AND_ASKED, agreement=True),
    "restored, failover, deposed owner": Scenario(failovers=1, restores=1, changes=2, deposed=DEPOSED, agreement=True),
    "newcomer beside a referrer": Scenario(kinds=("R", "R"), newcomer=True, changes=2, known=False, agreement=True),
    "newcomer, failover, misses": Scenario(newcomer=True, changes=2, failovers=1, known=False, agreement=True),
}
RESIDUAL = Scenario(failovers=1, restores=1, changes=2, deposed=Deposed(heads=True))
"""A referrer that is restored, and whose handshake a deposed owner answers."""
