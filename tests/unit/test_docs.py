"""What pages say of the contract is made of the contract."""

from dataclasses import replace

import pytest

from docs.generate import BEGIN, END, PAGE, page
from referring import Rule
from rpccommon.registry import registry


def test_the_page_of_references_shows_those_of_the_contract() -> None:
    assert page(PAGE.read_text(), registry()) == PAGE.read_text(), "docs/references.md is stale: run `make docs`"


def test_a_reference_that_changes_makes_the_page_stale() -> None:
    first, *others = registry()
    for changed in (others, [replace(first, rule=Rule.RESTRICT), *others], [first, replace(first, name="more_id"), *others]):
        assert page(PAGE.read_text(), changed) != PAGE.read_text()


def test_only_what_lies_between_the_marks_is_made() -> None:
    made = page(f"before\n{BEGIN}old\n{END}after\n", registry())
    assert made.startswith(f"before\n{BEGIN}")
    assert made.endswith(f"{END}after\n")
    assert "old" not in made


@pytest.mark.parametrize("text", ["", BEGIN, END])
def test_a_page_without_its_marks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the page has no line <!--"):
        page(text, registry())
