"""The recipes that come with the package do what they say, as they stand."""

import re
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from tests.unit.client.fakes import ALL, Fake, fail

README = Path(__file__).resolve().parents[3] / "protos" / "python" / "README.md"
RECIPES = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def test_the_recipes_run_from_top_to_bottom(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    known: dict[str, Any] = {
        "identity_address": fake.address,
        "bookings_address": fake.address,
        "email": "ann@example.com",
        "password": "right",
        "tls": None,
    }
    fake.plan("CreateBooking", fail(StatusCode.UNAVAILABLE), None, fail(StatusCode.FAILED_PRECONDITION, "SLOT_NOT_OFFERED"))
    for number, recipe in enumerate(RECIPES, 1):
        exec(compile(recipe, f"recipe {number}", "exec"), known)  # noqa: S102  # of this repository
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "booked TP-00000000"
    assert len(said) == 1 + len(ALL) + 3
    assert "there is no slot at that time: no" in said
    assert len(RECIPES) == 7
    assert fake.logins == 2  # one of the sync client, and one of aio
    first, again, other = (seen.request.request_id for seen in fake.calls("CreateBooking"))
    assert first == again != other
    for name in ("identity", "bookings"):
        known[name].close()
