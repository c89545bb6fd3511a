"""How far a list has been read, and how it goes on after a break. Pure: `now` is passed in, in seconds of a monotonic clock."""

import copy
from typing import Generic, Protocol, TypeVar

from teppan.client.attempts import Attempts, checked_patience, transient, unary
from teppan.client.methods import Method
from teppan.client.refusals import Refusal

PAGE = Method(repeatable=True)
INCOMPLETE = "the list ended without its last page"


class ListRequest(Protocol):
    """Asks for a list; where it has `page_limit` too, that bounds how many pages come."""

    page_token: str


class Page(Protocol):
    """A page of a list."""

    next_page_token: str


Request = TypeVar("Request", bound=ListRequest)


class Traversal(Generic[Request]):
    """Of one list. Patience counts from the last page, and only while the next one is waited for."""

    def __init__(self, request: Request, patience_seconds: float, now: float) -> None:
        self.request = copy.deepcopy(request)
        """What asks for the rest."""
        self.done = False
        self._patience = checked_patience(patience_seconds)
        self._limited = getattr(request, "page_limit", 0) > 0
        self._advanced = False
        self.waits(now)

    def waits(self, now: float) -> None:
        """The reader wants the next page from now on."""
        self.attempts: Attempts = unary(PAGE, None, self._patience, now)

    def timeout(self, now: float) -> float:
        """How long a call may take that begins now; it is resumed then, if it has brought a page."""
        return self.attempts.patience(now)

    def took(self, page: Page) -> None:
        """A page has come."""
        self._advanced = True
        self.request.page_token = page.next_page_token
        self.done = not page.next_page_token
        if self._limited:
            self.request.page_limit -= 1  # type: ignore[attr-defined]  # `_limited` says that it has one
            self.done = self.done or self.request.page_limit == 0  # type: ignore[attr-defined]  # likewise

    def pause(self, failure: Refusal, now: float) -> float | None:
        """After a break, how long to wait before the rest is asked for; None where the failure is the end of it."""
        resumed, self._advanced = self._advanced and transient(failure) and self.timeout(now) > 0, False
        if resumed:  # the page that was under way for most of the patience, perhaps, begins anew
            told = self.attempts.told
            self.waits(now)
            self.attempts.told = told
        return 0.0 if resumed and failure.retry_seconds is None else self.attempts.pause(failure, now)
