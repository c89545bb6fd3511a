"""What services ask each other of the things that one owns and others refer to: the servicer of both sides, and who asks.

The SQL of both sides is in dbcommon. Reading order: servicing, then checking and registering (a referrer asks an owner),
observing (who audits asks an owner), counting (an owner asks a referrer).
"""

from rpccommon.references.checking import Answer, Checker, Item
from rpccommon.references.counting import Counter
from rpccommon.references.observing import Asker
from rpccommon.references.registering import registration
from rpccommon.references.servicing import Owned, Page, ReferencesServicer, Referent, Referring, RefersToNothing

__all__ = [
    "Answer",
    "Asker",
    "Checker",
    "Counter",
    "Item",
    "Owned",
    "Page",
    "ReferencesServicer",
    "Referent",
    "Referring",
    "RefersToNothing",
    "registration",
]
