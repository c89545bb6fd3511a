"""What the database refuses, as faults: by the name of the constraint, never by the text of a message."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError

from faults import Fault


@contextmanager
def refusing(faults: Mapping[str, Fault]) -> Iterator[None]:
    """Raises the fault that stands for the constraint (or the trigger that raises under its name) that was violated.

    The transaction is lost: the fault must leave it. A constraint without a fault is a bug, and stays an IntegrityError.
    """
    try:
        yield
    except IntegrityError as error:
        fault = faults.get(violated(error) or "")
        if fault is None:
            raise
        raise fault from error


def violated(error: DBAPIError) -> str | None:
    """The name of the constraint that the error is about."""
    name: str | None = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)
    return name
