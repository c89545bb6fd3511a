"""The alert rules go by metrics that the services give: else they would be silent for ever."""

import re
from pathlib import Path

import yaml

from tests.integration.stage import Teppan, eventually

OF_TLS = {"tls_certificate_not_after_seconds"}
"""Which these services are without: tests/compose has it."""
RULES = Path(__file__).resolve().parents[2] / "deploy" / "observability" / "alerts.yml"


async def test_every_metric_of_an_alert_is_given_by_some_service(teppan: Teppan) -> None:
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    wanted = {name for rule in rules for name in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", re.sub(r'"[^"]*"', "", rule))}
    assert wanted >= OF_TLS
    wanted -= OF_TLS
    assert len(wanted) > 5

    async def all_are_given() -> None:
        given = {sample.name for each in teppan.registries.values() for metric in each.collect() for sample in metric.samples}
        assert wanted <= given, wanted - given

    await eventually(all_are_given)
