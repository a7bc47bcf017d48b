"""Alert rules, the Grafana dashboard and docs/report.md speak of what there is."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
import typer
import yaml
from command import parsed

from clicktide.cli import app
from clicktide.health_server import HealthServer, Steps
from monitoring.watch.detect.alarm import What
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


# --- docs/operations.md says what to do for every alarm, and every command is documented.

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def test_every_alarm_of_the_monitor_has_its_row():
    assert all(f"| `{what}` |" in OPERATIONS for what in get_args(What))


@pytest.mark.parametrize("page", ["operations.md", "report.md"])
def test_every_prometheus_alert_has_its_row_and_no_other(page):
    groups = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    told = re.findall(r"\| `(Clicktide\w+)` \|", (ROOT / "docs" / page).read_text())
    assert set(told) == alerts


def test_every_page_it_names_exists():
    for page in re.findall(r"\]\((\w+\.md)\)", OPERATIONS):
        assert (ROOT / "docs" / page).exists(), page


def test_every_command_is_documented_somewhere():
    texts = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    told = "\n".join(page.read_text() for page in texts)
    for name in typer.main.get_command(app).commands:
        assert f"clicktide {name}" in told, name


def test_every_page_of_docs_is_reached_from_the_readme_or_another_page():
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    told = "\n".join(
        page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    )
    assert all(re.search(rf"\]\((docs/)?{re.escape(page)}(#[^)]*)?\)", told) for page in pages)


# --- docker-compose.yml and the Dockerfile: their form, what they let in, and what they run.

TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
TIME = {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"}
NAMED = "^[a-z][a-z0-9-]*$"


def strict(required=(), **properties):
    """An object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def each(of):
    return {"type": "object", "patternProperties": {NAMED: of}, "additionalProperties": False}


# A volume by name, or what is shipped in deploy/, read only.
VOLUME = r"^([a-z-]+:/[a-z/]+|\./deploy/[a-z./]+:/[a-z./]+:ro)$"
# What we use of the Compose Specification, stricter: lists instead of shell texts.
SERVICE = strict(
    ["image", "restart", "healthcheck"],
    image={"type": "string", "pattern": r"^[a-z0-9/_-]+:[a-z0-9._-]+$"},
    build={"const": "."},
    init={"type": "boolean"},
    restart={"const": "unless-stopped"},
    stop_grace_period=TIME,
    entrypoint=TEXTS,
    command=TEXTS,
    profiles=TEXTS,
    ports=TEXTS,
    volumes={"type": "array", "items": {"type": "string", "pattern": VOLUME}},
    environment={"type": "object", "additionalProperties": {"type": ["string", "integer"]}},
    depends_on=each(strict(["condition"], condition={"const": "service_healthy"})),
    healthcheck=strict(
        ["test", "interval", "timeout", "retries"],
        test=TEXTS,
        interval=TIME,
        timeout=TIME,
        retries={"type": "integer", "minimum": 1},
        start_period=TIME,
    ),
    cap_drop={"const": ["ALL"]},
    security_opt={"const": ["no-new-privileges:true"]},
)
COMPOSE = strict(
    ["name", "services", "volumes"],
    name={"type": "string"},
    services=each(SERVICE),
    volumes=each({"type": "null"}),
)


PROCESSES = ("join", "count", "train", "monitor", "register", "serve")


@pytest.fixture(scope="module")
def compose():
    read = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return {name: of for name, of in read.items() if not name.startswith("x-")}


def ours(compose):
    return {name: of for name, of in compose["services"].items() if "build" in of}


def test_it_is_a_compose_file(compose):
    jsonschema.validate(compose, COMPOSE)


def test_it_has_the_log_the_store_and_every_process(compose):
    others = {"kafka", "valkey", "mlflow", "prometheus", "grafana"}
    assert set(compose["services"]) == {*others, *PROCESSES}
    assert set(ours(compose)) == set(PROCESSES)


def test_ports_are_open_to_this_machine_only(compose):
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_no_secret_stands_in_it(compose):
    names = [name for of in compose["services"].values() for name in of.get("environment", {})]
    assert not [name for name in names if re.search("PASSWORD|SECRET|TOKEN|KEY", name)]
    assert not re.search(r"://[^/\s]*:[^/\s]*@", (ROOT / "docker-compose.yml").read_text())


def test_what_is_named_exists(compose):
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        volumes = {volume.partition(":")[0] for volume in service.get("volumes", [])}
        shipped = {volume for volume in volumes if volume.startswith("./")}
        assert volumes - shipped <= set(compose["volumes"])
        assert all((ROOT / volume).exists() for volume in shipped)


def test_listeners_of_kafka_agree(compose):
    environment = compose["services"]["kafka"]["environment"]
    offered = dict(at.split("://") for at in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    url = ours(compose)["join"]["environment"]["CLICKTIDE_LOG"]
    assert url == f"kafka://{offered['INTERNAL']}"
    assert offered["HOST"] == "localhost:9092"
    mapped = dict(
        at.split(":") for at in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    )
    listeners = {at.split("://")[0] for at in environment["KAFKA_LISTENERS"].split(",")}
    assert listeners == set(mapped)
    assert set(offered) < listeners


@pytest.mark.parametrize("service", PROCESSES)
def test_commands_are_understood(compose, service, monkeypatch):
    for name, value in ours(compose)[service]["environment"].items():
        monkeypatch.setenv(name, str(value))
    parsed(ours(compose)[service]["command"])


@pytest.mark.parametrize("service", PROCESSES)
def test_health_checks_ask_the_process_and_tell_a_stuck_one(compose, service):
    of = ours(compose)[service]
    kind, program, *arguments = of["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    [port] = re.findall(r"localhost:(\d+)/", arguments[-1])
    given = parsed(of["command"])
    assert port == (given["health"] if service != "serve" else of["ports"][0].rpartition(":")[2])
    now = [0.0]
    with HealthServer("0", service, Steps(lambda: False, lambda: now[0])) as server:
        probe = arguments[-1].replace(port, str(server.port)).replace("/readyz", "/healthz")
        for seconds, code in ((0.0, 0), (10_000.0, 1)):
            now[0] = seconds
            done = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False)
            assert done.returncode == code, done.stderr


def test_environment_variables_are_those_of_the_options(compose):
    group = typer.main.get_command(app)
    known = {
        option.envvar for of in group.commands.values() for option in of.params if option.envvar
    }
    for service in ours(compose).values():
        assert set(service["environment"]) <= known


def instructions():
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.partition(" ") for line in text.splitlines() if line and line[0] != "#"]
    return [(name, rest.strip()) for name, _, rest in lines]


def test_the_image_runs_as_nobody_special():
    names = [name for name, _ in instructions()]
    (user,) = [rest for name, rest in instructions() if name == "USER"]
    assert user == "clicktide"
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert ("ENTRYPOINT", '["clicktide"]') in instructions()
    assert ("FROM", "python:3.11-slim") in instructions()


def test_the_image_installs_the_versions_tested():
    (run,) = [rest for name, rest in instructions() if name == "RUN"]
    assert "-c constraints.txt" in run


def test_the_image_has_every_package_and_the_ignore_file_lets_it_in():
    copied = [shlex.split(rest)[:-1] for name, rest in instructions() if name == "COPY"]
    copied = {source for sources in copied for source in sources}
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied == {line[1:] for line in allowed if line.startswith("!")}
    assert "*" in allowed
    assert all((ROOT / source).exists() for source in copied)
    packages = re.search(r"packages = (\[.*specs.*\])", (ROOT / "pyproject.toml").read_text())
    assert set(yaml.safe_load(packages[1])) <= copied
