"""Alert rules, the Grafana dashboard and docs/report.md speak of what there is."""

import json
import re
from pathlib import Path

import pytest
import typer
import yaml

from clicktide.cli import app
from serving.metrics import Metrics, stream_metrics
from serving.stream_snapshot import AlarmView, StreamSnapshot, WindowView

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TEXT = (ROOT / "docs" / "report.md").read_text()
LOOK = StreamSnapshot(
    at_ms=1, rates={}, records={"clicks": 5}, lags={"join": 3}, pending=7, stalled=False,
    freshness={"event to learned": 2.0}, trainer={"learned": 9.0},
    recent=WindowView(0, 10, 2.0, 1.5, 1.2, 1.9, 0.1, 0.9),
    alarms=(AlarmView("it", "calibration", "campaign", 'c"7\n', "over", 0, None, "", ""),),
    labels={"clicks joined": 0.98}, monitor_at_ms=5000, clock_ahead_s=-3.0,
    rejected={"impressions too_late": 4}, tables={"fields": 0.1},
)  # fmt: skip


def names_in(text):
    return set(re.findall(r"\bclicktide_[a-z_]+\b", text))


@pytest.fixture(scope="module")
def known():
    metrics = Metrics()
    metrics.request("/v1/predict", 200, 0.001)
    metrics.scored(2, 1)
    metrics.refused()
    metrics.weights(5, 1.0)
    text = metrics.text() + stream_metrics(LOOK)
    return {line.split("{")[0].split(" ")[0] for line in text.decode().splitlines()}


def expressions():
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    dashboard = json.loads((DEPLOY / "grafana/dashboards/clicktide.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for note in dashboard["annotations"]["list"]:
        yield note["name"], note["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_that_is_asked_for_is_there(known, where, expression):
    assert names_in(expression) <= known
    assert names_in(expression) or "up{" in expression


def test_every_rule_says_what_it_is_and_how_bad():
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        assert rule["alert"].startswith("Clicktide") and rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("page", "warn")


def test_the_scraped_paths_are_routes():
    jobs = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    assert [job["metrics_path"] for job in jobs] == ["/metrics", "/metrics/stream"]


def test_values_of_the_data_are_escaped_in_labels():
    assert rb'value="c\"7\n"' in stream_metrics(LOOK)


def test_panels_do_not_overlap():
    dashboard = json.loads((DEPLOY / "grafana/dashboards/clicktide.json").read_text())
    taken = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_every_option_is_told():
    command = typer.main.get_command(app).commands["report"]
    options = {option for param in command.params for option in param.opts} - {"--help"}
    assert options <= set(re.findall(r"--[a-z-]+", TEXT))


def test_every_metric_of_the_stream_is_told():
    names = set(re.findall(r"^(clicktide_[a-z_]+)", stream_metrics(LOOK).decode(), re.MULTILINE))
    assert names == set(re.findall(r"`(clicktide_[a-z_]+)", TEXT))
