"""IDs are recognised, and what is none is not kept."""

from uuid import UUID

import pytest

from ids import _parsed, parsed


def test_an_id_is_parsed_and_remembered() -> None:
    text = "0193a5b0-0000-7000-8000-000000000001"
    assert parsed(text) is parsed(text)
    assert parsed(text) == UUID(text)


@pytest.mark.parametrize("text", ["", "x" * 36, "-" * 60_000 + "0" * 32, "{0193a5b0-0000-7000-8000-000000000001}", "0" * 32])
def test_what_is_no_id_is_refused_and_takes_no_memory(text: str) -> None:
    before = _parsed.cache_info().currsize
    with pytest.raises(ValueError, match=r"\w"):
        parsed(text)
    assert _parsed.cache_info().currsize == before
