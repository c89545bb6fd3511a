"""The alert rules: each is shown to fire, by promtool, where a machine has it (Debian's package `prometheus`)."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "observability"
PROMTOOL = shutil.which("promtool")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]


@pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool: Debian's package prometheus has it")
def test_every_alert_fires_where_it_should_and_nowhere_else() -> None:
    assert PROMTOOL
    done = subprocess.run([PROMTOOL, "test", "rules", "alerts_test.yml"], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_shown_firing_and_silent_and_says_what_to_do() -> None:
    shown: dict[str, set[bool]] = {}
    for test in yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]:
        for each in test["alert_rule_test"]:
            shown.setdefault(each["alertname"], set()).add(bool(each["exp_alerts"]))
    assert shown == {rule["alert"]: {True, False} for rule in rules()}
    assert all(set(rule["annotations"]) == {"summary", "action"} and rule["labels"]["severity"] for rule in rules())
