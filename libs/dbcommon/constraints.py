"""What the database refuses, as faults: by the name of the constraint, never by the text of a message."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import asyncpg

from dbcommon.failures import violated


@contextmanager
def refusing(faults: Mapping[str, Exception]) -> Iterator[None]:
    """Raises the fault (or what its caller expects) that stands for the constraint, or for the trigger that raises under its name.

    The transaction is lost: the fault must leave it. A constraint without a fault is a bug, and stays an error.
    """
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        fault = faults.get(violated(error) or "")
        if fault is None:
            raise
        raise fault from error
