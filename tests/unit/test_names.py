"""Which names there are, and in which form they are kept."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults import InvalidArgument
from names import normalised, problem
from rpccommon.values import name_from_pb


@pytest.mark.parametrize(
    "name",
    [
        "Bo", "Ann-Marie O'Neil", "Jürgen", "李", "محمد", "می‌خواهم", "क्‍ष", "👩‍🍳", "👨‍👩‍👧 Smith", "🏳️‍🌈", "7-Eleven", "E\u0301lan", "!",
        "Nguyễn Thị", "a" * 200,
    ],
)  # fmt: skip
def test_what_people_and_places_are_called_is_a_name(name: str) -> None:
    assert problem(normalised(name)) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", "visible"), (" ", "visible"), ("\u3000", "visible"), ("\u00a0", "visible"), ("\u3164", "visible"), ("\u2800", "visible"),
        ("\u0301", "visible"), ("\ufe0f", "visible"), ("\n", "U+000A"), ("Bo\n", "U+000A"), ("Bo\r\nBcc: x", "U+000D"), ("Bo\x00", "U+0000"),
        ("\u200b", "U+200B"), ("B\u200bo", "U+200B"), ("\u202eoB", "U+202E"), ("Bo\u2066", "U+2066"), ("\u200fBo", "U+200F"),
        ("Bo\u200d", "U+200D"), ("\u200dBo", "U+200D"), ("Bo \u200d Li", "U+200D"), ("Bo\u200d\u200dLi", "U+200D"), ("\u200c", "U+200C"),
        ("Bo\u2028Li", "U+2028"), ("B\u00ado", "U+00AD"), ("\ufeffBo", "U+FEFF"), ("Bo\x7f", "U+007F"), ("B\U000e0041o", "U+E0041"),
    ],
)  # fmt: skip
def test_what_cannot_be_seen_or_changes_how_others_are_shown_is_no_name(name: str, shown: str) -> None:
    assert shown in (problem(normalised(name)) or "")
    with pytest.raises(InvalidArgument) as refusal:
        name_from_pb(name, "display_name")
    assert list(refusal.value.fields) == ["display_name"]


@given(name=st.text(max_size=30))
def test_a_name_that_is_accepted_has_something_to_see_and_breaks_no_line(name: str) -> None:
    kept = normalised(name)
    assert normalised(kept) == kept
    if problem(kept) is None:
        assert kept.strip()
        assert kept.splitlines() == [kept]
        assert not any(unicodedata.category(character) == "Cc" for character in kept)
        assert name_from_pb(name, "name") == kept
