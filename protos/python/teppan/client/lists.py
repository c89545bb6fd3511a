"""Lists, whole or by the page, whatever breaks on the way."""

from __future__ import annotations  # grpc's classes are generic in their type stubs only

import copy
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TypeVar

import grpc

from teppan.client.attempts import PATIENCE_SECONDS
from teppan.client.refusals import CallFailed, refusal
from teppan.client.traversal import INCOMPLETE, ListRequest, Page, Traversal

Request = TypeVar("Request", bound=ListRequest)
Answer = TypeVar("Answer", bound=Page)
Metadata = Sequence[tuple[str, str | bytes]]


def pages(
    method: grpc.UnaryStreamMultiCallable[Request, Answer] | grpc.UnaryUnaryMultiCallable[Request, Answer], request: Request, *,
    patience_seconds: float = PATIENCE_SECONDS, metadata: Metadata = (),
) -> Generator[Answer, None, None]:  # fmt: skip
    """Every page of a list, from the request's `page_token` on: to the last one, or as many as its `page_limit` says.

    A broken stream goes on from its last token, so that no row is missing and none comes twice. Raises grpc.RpcError at once
    for a refusal, and for a break when no page came for `patience_seconds` while one was waited for. Closing it ends the call.
    Raises ValueError for a patience that is not positive, or above a year.
    """
    return _read(method, Traversal(request, patience_seconds, time.monotonic()), metadata)


def page(
    method: grpc.UnaryStreamMultiCallable[Request, Answer] | grpc.UnaryUnaryMultiCallable[Request, Answer], request: Request, *,
    patience_seconds: float = PATIENCE_SECONDS, metadata: Metadata = (),
) -> Answer:  # fmt: skip
    """The one page that the request asks for; its `next_page_token` asks for the next one. Raises grpc.RpcError."""
    one = copy.deepcopy(request)
    if hasattr(one, "page_limit"):
        one.page_limit = 1
    with closing(pages(method, one, patience_seconds=patience_seconds, metadata=metadata)) as found:
        return next(found)


def _read(
    method: grpc.UnaryStreamMultiCallable[Request, Answer] | grpc.UnaryUnaryMultiCallable[Request, Answer],
    traversal: Traversal[Request], metadata: Metadata,
) -> Generator[Answer, None, None]:  # fmt: skip
    """What is left of a list."""
    traversal.waits(time.monotonic())
    while not traversal.done:
        try:
            with closing(_messages(method, traversal, metadata)) as messages:
                for message in messages:
                    traversal.took(message)
                    yield message
                    traversal.waits(time.monotonic())
        except grpc.RpcError as error:
            if traversal.done:  # how the call ends changes nothing any more
                return
            verdict = traversal.attempts.verdict(error)
            pause = traversal.pause(refusal(error), time.monotonic())
            if pause is None:
                raise verdict from None
            time.sleep(pause)


def _messages(
    method: grpc.UnaryStreamMultiCallable[Request, Answer] | grpc.UnaryUnaryMultiCallable[Request, Answer],
    traversal: Traversal[Request], metadata: Metadata,
) -> Generator[Answer, None, None]:  # fmt: skip
    """What one call brings."""
    timeout = traversal.timeout(time.monotonic())
    if isinstance(method, grpc.UnaryUnaryMultiCallable):
        yield method(traversal.request, timeout=timeout, metadata=tuple(metadata))
        return
    call = method(traversal.request, timeout=timeout, metadata=tuple(metadata))
    try:
        yield from call
        if not traversal.done:  # it says OK, and that may be any proxy's
            raise CallFailed(grpc.StatusCode.UNAVAILABLE, INCOMPLETE)
    finally:
        call.cancel()
