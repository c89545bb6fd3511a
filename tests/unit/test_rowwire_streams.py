"""The output of a COPY as it comes in: the same pages, wherever it is cut."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowwire import Column, CopyInvalid, CopyStream, Encoder, Framing, Page, Plan, RowInvalid, Type
from tests.rows import COPY_HEADER, COPY_TRAILER, row, rows
from tests.rowwire_stage import EVERY, page_of, tables

Make = Callable[[Plan], Encoder]
COLUMNS = [Column(name="number", type=Type.INT8, field="plain_int64"), Column(name="text", type=Type.TEXT, field="plain_string")]
VALUES = [[number, f"row {number}"] for number in range(1, 8)]
WHOLE = COPY_HEADER + rows(Framing.COPY, COLUMNS, VALUES) + COPY_TRAILER


def read(stream: CopyStream, *chunks: bytes) -> list[Page]:
    pages = [page for chunk in chunks for page in stream.feed(chunk)]
    stream.close()
    return pages


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # tables are large, and machines differ
@given(table=tables(), data=st.data(), rows_max=st.integers(1, 4), bytes_max=st.integers(0, 500))
def test_any_cuts_give_the_same_pages(make_encoder: Make, table: Any, data: st.DataObject, rows_max: int, bytes_max: int) -> None:
    columns, values = table
    whole = COPY_HEADER + rows(Framing.COPY, columns, values) + COPY_TRAILER
    places = data.draw(st.lists(st.integers(0, len(whole)), max_size=12))
    encoder = make_encoder(Plan.of(EVERY, columns))
    pages = read(CopyStream(encoder, rows_max=rows_max, bytes_max=bytes_max), *cut(whole, places))
    assert pages == read(CopyStream(encoder, rows_max=rows_max, bytes_max=bytes_max), whole)
    assert b"".join(page.body for page in pages) == page_of(1, columns, values).SerializeToString(deterministic=True)
    assert all(len(page.body) <= bytes_max or page.rows == 1 for page in pages)
    assert [page.final for page in pages] == [False] * (len(pages) - 1) + [True]


@pytest.mark.parametrize(("rows_max", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (8, [7])])
def test_a_page_has_as_many_rows_as_were_asked_for_and_the_last_one_is_final(
    make_encoder: Make, rows_max: int, sizes: list[int]
) -> None:
    plan = Plan.of(EVERY, COLUMNS)
    pages = read(CopyStream(make_encoder(plan), rows_max=rows_max), *(WHOLE[at : at + 1] for at in range(len(WHOLE))))
    assert [page.rows for page in pages] == sizes
    seen = 0
    for page in pages:
        seen += page.rows
        assert plan.values(page.last_row, 0, Framing.COPY, ["text", "number"]) == (f"row {seen}", seen)


def test_a_copy_without_rows_is_one_empty_page(make_encoder: Make) -> None:
    pages = read(CopyStream(make_encoder(Plan.of(EVERY, COLUMNS)), rows_max=5), COPY_HEADER + COPY_TRAILER)
    assert pages == [Page(body=b"", rows=0, last_row=b"", final=True)]


def test_a_full_page_comes_as_soon_as_it_is_known_that_another_follows(make_encoder: Make) -> None:
    stream = CopyStream(make_encoder(Plan.of(EVERY, COLUMNS)), rows_max=1)
    assert stream.feed(COPY_HEADER + row(Framing.COPY, COLUMNS, VALUES[0])) == []
    pages = stream.feed(row(Framing.COPY, COLUMNS, VALUES[1])[:2])
    assert [(page.rows, page.final) for page in pages] == [(1, False)]


def test_a_header_may_have_an_extension(make_encoder: Make) -> None:
    whole = COPY_HEADER[:-4] + (5).to_bytes(4, "big") + b"hello" + WHOLE[len(COPY_HEADER) :]
    for at in range(len(COPY_HEADER) + 6):
        assert (
            sum(page.rows for page in read(CopyStream(make_encoder(Plan.of(EVERY, COLUMNS)), rows_max=5), *cut(whole, [at]))) == 7
        )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"1\trow 1\n", "not the output of COPY"),
        (b"PGCOPX", "not the output of COPY"),
        (COPY_HEADER[:11] + b"\0\1\0\0" + bytes(4), "the header asks for"),
        (COPY_HEADER[:15] + b"\xff\xff\xff\xff", "the header asks for"),
        (WHOLE + b"\0", "after the trailer"),
    ],
)
def test_what_is_not_a_copy_is_refused(make_encoder: Make, data: bytes, why: str) -> None:
    with pytest.raises(CopyInvalid, match=why):
        CopyStream(make_encoder(Plan.of(EVERY, COLUMNS)), rows_max=100).feed(data)


def test_data_after_the_end_are_refused(make_encoder: Make) -> None:
    stream = CopyStream(make_encoder(Plan.of(EVERY, COLUMNS)), rows_max=100)
    stream.feed(WHOLE)
    assert stream.finished
    with pytest.raises(CopyInvalid, match="after the trailer"):
        stream.feed(b"\0")


@pytest.mark.parametrize("end", [0, 5, len(COPY_HEADER), len(WHOLE) - 3, len(WHOLE) - 1])
def test_data_that_end_early_are_noticed(make_encoder: Make, end: int) -> None:
    stream = CopyStream(make_encoder(Plan.of(EVERY, COLUMNS)), rows_max=100)
    assert stream.feed(WHOLE[:end]) == []
    with pytest.raises(CopyInvalid, match="without a trailer"):
        stream.close()


def test_an_endless_row_is_refused(make_encoder: Make) -> None:
    stream = CopyStream(make_encoder(Plan.of(EVERY, COLUMNS)), rows_max=100, row_bytes_max=1_000)
    data = COPY_HEADER + row(Framing.COPY, COLUMNS, [1, "x" * 2_000])
    with pytest.raises(CopyInvalid, match="row 0 has more than 1000 bytes"):
        stream.feed(data[:-1])


def test_a_row_that_is_refused_is_counted_from_the_beginning(make_encoder: Make) -> None:
    stream = CopyStream(make_encoder(Plan.of(EVERY, COLUMNS)), rows_max=2)
    at = len(COPY_HEADER + rows(Framing.COPY, COLUMNS, VALUES[:3]))
    stream.feed(WHOLE[:at])
    with pytest.raises(RowInvalid, match="row 4, column text"):
        stream.feed(rows(Framing.COPY, COLUMNS, [[1, "good"], [2, b"\xff"]]))


def test_a_page_without_rows_makes_no_sense(make_encoder: Make) -> None:
    with pytest.raises(ValueError, match="one row at least"):
        CopyStream(make_encoder(Plan.of(EVERY, COLUMNS)), rows_max=0)
