"""The registry of all references, as the contract publishes it: `teppan/references.json`, made of the protos' annotations."""

import json
from collections.abc import Sequence
from importlib.resources import files

from referring import Column, Rule


def registry() -> Sequence[Column]:
    """Every column that is declared to refer to another service's things."""
    declared = json.loads((files("teppan") / "references.json").read_text())
    return [_column(each) for each in declared]


def _column(declared: dict[str, str]) -> Column:
    service, table, name = declared["column"].split(".")
    return Column(service=service, table=table, name=name, type=declared["to"], rule=Rule[declared["on_delete"]])
