"""The Helm chart, drawn by the real helm, and the systemd unit: what they start is understood."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from command import parsed

from clicktide.cli import app

DEPLOY = Path(__file__).parents[2] / "deploy"
HELM = Path(sys.executable).with_name("helm")
PROCESSES = {"join", "count", "train", "monitor", "register", "serve"}
ALL = {
    "log": "kafka://k:9092", "redis": "redis+cluster://r:6379", "mlflow": "http://mlflow:5000",
    "secret": "clicktide", "files": {"ads.toml": "name = 'ads'"}, "spec": "/etc/clicktide/ads.toml",
    "settings": {"STREAM__PARTITIONS": "24"}, "serve": {"workers": 2}, "train": {"replicas": 2},
}  # fmt: skip

pytestmark = pytest.mark.skipif(not HELM.exists(), reason="THE CHART IS NOT TESTED: no helm")


def helm(*arguments, values=None, tmp_path):
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values or {}))
    chart = str(DEPLOY / "helm")
    command = [HELM, *arguments, chart, "--values", file]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def objects(values, tmp_path):
    done = helm("template", "ads", values=values, tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def containers(drawn):
    """By the process they run: the pod's spec and its one container."""
    out = {}
    for one in drawn:
        if one["kind"] in ("StatefulSet", "Deployment"):
            spec = one["spec"]["template"]["spec"]
            [container] = spec["containers"]
            out[container["name"]] = spec, container
    return out


def test_it_is_well_formed(tmp_path):
    done = helm("lint", "--strict", values=ALL, tmp_path=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "kafka://" in helm("template", "ads", tmp_path=tmp_path).stderr  # what is to be given


@pytest.mark.parametrize("values", [ALL, {"log": "kafka://k:9092", "count": {"replicas": 0}}])
def test_every_command_and_variable_is_understood(values, tmp_path, monkeypatch):
    drawn = objects(values, tmp_path)
    known = {
        option.envvar
        for command in typer.main.get_command(app).commands.values()
        for option in command.params
        if option.envvar
    }
    found = containers(drawn)
    assert set(found) == (PROCESSES if values is ALL else PROCESSES - {"count", "register"})
    for name, (spec, container) in found.items():
        variables = {one["name"]: one.get("value", "pod-0") for one in container["env"]}
        for variable in variables:
            of_ours = variable.startswith("CLICKTIDE_") and "__" not in variable
            assert not of_ours or variable in known, variable
        given = parsed([word.replace("$(POD_NAME)", "pod-0") for word in container["args"]])
        [port] = [one["containerPort"] for one in container["ports"]]
        told = given["port"] if name == "serve" else int(given["health"].rpartition(":")[2])
        assert told == port
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["httpGet"] == {"path": "/healthz", "port": "http"}
        assert spec["securityContext"]["runAsNonRoot"]
    assert "instance" not in parsed(found["serve"][1]["args"])


def test_what_is_named_exists(tmp_path):
    drawn = objects(ALL, tmp_path)
    claims = {one["metadata"]["name"] for one in drawn if one["kind"] == "PersistentVolumeClaim"}
    files = {one["metadata"]["name"] for one in drawn if one["kind"] == "ConfigMap"}
    labels = [
        one["spec"]["template"]["metadata"]["labels"].items()
        for one in drawn
        if one["kind"] in ("StatefulSet", "Deployment")
    ]
    named = set()
    for spec, container in containers(drawn).values():
        volumes = {one["name"]: one for one in spec["volumes"]}
        assert {one["name"] for one in container["volumeMounts"]} == set(volumes)
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                named.add(volume["persistentVolumeClaim"]["claimName"])
            elif "configMap" in volume:
                assert volume["configMap"]["name"] in files
    assert named == claims
    for one in drawn:
        if one["kind"] == "Service":
            chosen = one["spec"]["selector"].items()
            assert sum(chosen <= of for of in labels) == 1
        elif one["kind"] == "HorizontalPodAutoscaler":
            assert one["spec"]["scaleTargetRef"]["name"] == "ads-serve"


def test_no_secret_stands_in_a_value(tmp_path):
    for _, container in containers(objects(ALL, tmp_path)).values():
        assert container["envFrom"] == [{"secretRef": {"name": "clicktide"}}]
        names = [one["name"] for one in container["env"]]
        assert not [name for name in names if "TOKEN" in name or "PASSWORD" in name]


def test_requests_need_a_token_unless_told(tmp_path):
    _, container = containers(objects(ALL, tmp_path))["serve"]
    assert "--insecure" not in container["args"]
    open_to_all = ALL | {"serve": {"insecure": True}}
    _, container = containers(objects(open_to_all, tmp_path))["serve"]
    assert parsed(container["args"])["insecure"]


def test_the_systemd_unit_is_understood(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("THE SYSTEMD UNIT IS NOT TESTED: no systemd-analyze")
    text = (DEPLOY / "systemd" / "clicktide@.service").read_text()
    [start] = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    for name in PROCESSES:
        assert parsed(start.replace("%i", name).split()[1:])["folder"]
        unit = tmp_path / f"clicktide-{name}.service"
        there = text.replace("/opt/clicktide/bin/clicktide", "/bin/true")
        unit.write_text(there.replace("%i", name).replace("User=clicktide", "User=root"))
        done = subprocess.run(
            [analyze, "verify", unit], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
