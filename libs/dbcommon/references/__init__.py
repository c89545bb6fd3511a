"""IDs that point into another service, guarded by this service's own database.

A known row stands for an entity of another service. Columns that refer to it have an ordinary foreign key, and a trigger
that takes the known row FOR KEY SHARE and refuses unless it is OPEN. The rules by number are those of docs/references.md.
Reading order: states, together, known, closing, guards, answers, asking, consequences, counting; of the owner: epochs, registering,
streaming, purging, driving.
"""

from dbcommon.references.answers import ABSENT, Answer, Found
from dbcommon.references.asking import Owner, References, Wanted
from dbcommon.references.consequences import Consequences
from dbcommon.references.counting import CannotCount, Counting
from dbcommon.references.driving import Driver, Referrer
from dbcommon.references.epochs import answering_epoch, present_epoch
from dbcommon.references.guards import guard, refusals
from dbcommon.references.known import KnownRows, known_table
from dbcommon.references.purging import Purgeable, Purges, Stage, Tombstones
from dbcommon.references.registering import Registry
from dbcommon.references.states import Known, Referent
from dbcommon.references.streaming import Listed, ReferentPage, referents

__all__ = [
    "ABSENT",
    "Answer",
    "CannotCount",
    "Consequences",
    "Counting",
    "Driver",
    "Found",
    "Known",
    "KnownRows",
    "Listed",
    "Owner",
    "Purgeable",
    "Purges",
    "References",
    "Referent",
    "ReferentPage",
    "Referrer",
    "Registry",
    "Stage",
    "Tombstones",
    "Wanted",
    "answering_epoch",
    "guard",
    "known_table",
    "present_epoch",
    "referents",
    "refusals",
]
