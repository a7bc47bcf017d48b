"""docker-compose.yml and the Dockerfile: their form, what they let in, and what they run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import typer
import yaml
from command import parsed

from clicktide.cli import app
from clicktide.health_server import HealthServer, Steps

ROOT = Path(__file__).parents[2]
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
