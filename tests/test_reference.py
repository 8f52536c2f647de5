"""docs/reference.md says what the code does; the dashboard, the alerts and their runbooks ask for what there is."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tools import reference

ROOT = Path(__file__).resolve().parents[1]
MONITORING = ROOT / "k8s" / "components" / "monitoring"


def expressions(file: str) -> list[str]:
    """The queries of the dashboard or the alerts."""
    text = (MONITORING / file).read_text()
    if file.endswith(".json"):
        return [target["expr"] for panel in json.loads(text)["panels"] for target in panel.get("targets", [])]
    return [rule["expr"] for group in yaml.safe_load(text)["spec"]["groups"] for rule in group["rules"]]


def test_the_page_is_in_step() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run: make reference"


def test_every_variable_has_its_meaning() -> None:
    for service in reference.SERVICES:
        for name, _, meaning in reference.variables(service):
            assert meaning, name


def test_variables_outside_the_configurations_are_told_too() -> None:
    page = reference.page()
    for folder in ("services", "syncline"):
        for path in (ROOT / folder).rglob("*.py"):
            for name in re.findall(r"\"((?:SYNCLINE|OTEL)_[A-Z_]+)\"", path.read_text()):
                if "ENDPOINT" not in name:
                    assert f"`{name}`" in page, f"{path.relative_to(ROOT)}: {name}"


@pytest.mark.parametrize("file", ["dashboard.json", "alerts.yaml"])
def test_only_metrics_that_exist_are_asked_for(file: str) -> None:
    known = {re.sub("_total$", "", name) for name, *_ in reference.all_metrics()}
    asked = {name for query in expressions(file) for name in re.findall(r"syncline_\w+", query)}
    assert asked
    for name in asked:
        assert re.sub("_(total|bucket|sum|count)$", "", name) in known, name


def test_every_alert_has_its_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert [rule["alert"] for rule in rules] == headings
    for rule in rules:
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"
