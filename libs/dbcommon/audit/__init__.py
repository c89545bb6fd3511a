"""Whether what rows refer to is still there: the audit of a service's references, and the repair of those that dangle.

A foreign key needs none. IDs into another service do: a backup that is restored brings back rows of things that are gone, or takes
things from under rows that stay. Reading order: declaration, columns, scanning, observing, findings, repairing, auditor.
"""

from dbcommon.audit.auditor import Auditor
from dbcommon.audit.columns import Audited, Thing
from dbcommon.audit.declaration import ACCESS, tables
from dbcommon.audit.observing import Observer, Owner

__all__ = ["ACCESS", "Audited", "Auditor", "Observer", "Owner", "Thing", "tables"]
