"""Writes into docs/references.md what the contract says: a picture and a table of all references. `make docs` runs it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from referring import Column, Rule
from rpccommon.registry import registry

PAGE = Path(__file__).with_name("references.md")
BEGIN, END = "<!-- made by `make docs` -->\n", "<!-- until here -->\n"


def page(text: str, columns: Sequence[Column]) -> str:
    """A page with what lies between its marks made anew. Raises ValueError where a mark is missing."""
    before, rest = _cut(text, BEGIN)
    _, after = _cut(rest, END)
    return before + BEGIN + "\n" + "\n".join([*_picture(columns), "", *_table(columns), "", ""]) + END + after


def _cut(text: str, mark: str) -> tuple[str, str]:
    before, found, after = text.partition(mark)
    if not found:
        raise ValueError(f"the page has no line {mark.strip()}")
    return before, after


def _picture(columns: Sequence[Column]) -> Iterator[str]:
    """Who refers to whom, service by service; what may dangle is dotted."""
    nodes = {*(each.type for each in columns), *(_holder(each) for each in columns)}
    yield "```mermaid\nflowchart LR"
    for service in sorted({node.partition(".")[0] for node in nodes}):
        yield f"  subgraph {service}"
        yield from (f'    {_node(node)}["{node.partition(".")[2]}"]' for node in sorted(nodes) if node.startswith(f"{service}."))
        yield "  end"
    for each in columns:
        arrow = "-.->" if each.rule == Rule.KEEP else "-->"
        yield f'  {_node(_holder(each))} {arrow}|"{each.name}: {each.rule.name}"| {_node(each.type)}'
    yield "```"


def _table(columns: Sequence[Column]) -> Iterator[str]:
    yield "| service | column | refers to | when that is purged |\n| --- | --- | --- | --- |"
    for each in columns:
        yield f"| {each.service} | `{each.place}` | {each.type} | {each.rule.name} |"


def _holder(column: Column) -> str:
    return f"{column.service}.{column.table}"


def _node(name: str) -> str:
    return name.replace(".", "_")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(), registry()))
