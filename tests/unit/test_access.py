"""Who may call: every operation with no token, a wrong one, one of another scope, the right one."""

import base64
import os
import socket
from hashlib import sha256

import pytest
from shop_server import Client
from typer.testing import CliRunner

from clicktide.cli import app as commands
from clicktide.serve import check_access, listen
from features.errors import ClicktideError
from serving.access import FREE, Access, read_tokens, scope_of
from serving.problem import Problem
from serving.settings import ServeSettings

SECRETS = {scope: f"a secret of {scope:>9}" for scope in ("predict", "events", "admin")}
TEXT = "\n".join(
    f'[{scope}-caller]\nscopes = ["{scope}"]\nsha256 = "{sha256(secret.encode()).hexdigest()}"'
    for scope, secret in SECRETS.items()
)


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def client():
    made = Client(docs=True)
    made.state.access = Access(TEXT)
    return made


def operations(client):
    """Every path and method of the description, and those that it leaves out."""
    described = client("GET", "/openapi.json", headers=bearer(SECRETS["predict"])).json()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation.get("security")
    for path in ("/dashboard", "/reports/", "/metrics/stream", "/no/such/path"):
        yield "GET", path, [{"token": ["admin"]}]


def test_every_operation_by_every_token(client):
    seen = []
    for method, path, security in operations(client):
        none = client(method, path).status_code
        wrong = client(method, path, headers=bearer("not a secret of ours")).status_code
        by_scope = {
            scope: client(method, path, headers=bearer(secret)).status_code
            for scope, secret in SECRETS.items()
        }
        seen.append(path)
        if path in FREE:
            assert security is None
            assert none == wrong == 200
            continue
        assert (none, wrong) == (401, 401), path
        [[needed]] = [it["token"] for it in security]
        assert needed == scope_of(path)
        for scope, status in by_scope.items():
            assert (status == 403) == (scope != needed), (path, scope)
            assert status not in (401, 500), (path, scope)
    assert len(seen) >= 13
    assert "/v1/rank" in seen
    assert "/metrics" in seen


def test_a_refusal_says_what_to_send_and_never_a_secret(client):
    answer = client("POST", "/v1/predict", json={"fields": {}}, headers=bearer("a wrong secret!!"))
    assert "Authorization: Bearer TOKEN" in answer.json()["detail"]
    assert answer.headers["www-authenticate"].startswith("Bearer")
    other = client("POST", "/v1/clicks", json={}, headers=bearer(SECRETS["predict"]))
    assert "scope events" in other.json()["detail"]
    assert not [line for line in client.said if "secret" in line]


def test_what_a_ranking_logs_needs_the_scope_events(client):
    body = {"candidates": [{"fields": {"ad": "a"}}]}
    header = bearer(SECRETS["predict"])
    assert client("POST", "/v1/rank", json=body, headers=header).status_code == 200
    logged = client("POST", "/v1/rank", json=body | {"log": True}, headers=header)
    assert logged.status_code == 403


def test_a_browser_sends_the_token_as_a_password(client):
    word = base64.b64encode(f"me:{SECRETS['admin']}".encode()).decode()
    assert client("GET", "/metrics", headers={"Authorization": f"Basic {word}"}).status_code == 200
    bad = client("GET", "/metrics", headers={"Authorization": "Basic %%%"})
    assert bad.status_code == 401


def test_calls_of_an_admin_are_audited(client):
    client("GET", "/metrics", headers=bearer(SECRETS["admin"]))
    client("GET", "/metrics", headers=bearer(SECRETS["events"]))
    client("POST", "/v1/predict", json={"fields": {}}, headers=bearer(SECRETS["predict"]))
    [line] = [line for line in client.said if "audit:" in line]
    assert line.endswith("audit: admin-caller GET /metrics 200")


def test_no_more_requests_a_second_than_a_token_may_send():
    now = [0.0]
    text = '[a]\nscopes = ["predict"]\ntoken = "0123456789abcdef"\nmax_per_s = 4'
    access = Access(text, share=0.5, clock=lambda: now[0])

    def sent(count):
        return [ask() for _ in range(count)]

    def ask():
        try:
            access.admit("/v1/predict", b"Bearer 0123456789abcdef")
        except Problem as problem:
            return problem.status
        return 200

    assert sent(3) == [200, 200, 429]
    now[0] += 0.5
    assert sent(2) == [200, 429]
    now[0] += 100.0
    assert sent(3) == [200, 200, 429]


def test_the_file_is_read_again_and_a_broken_one_changes_nothing(tmp_path):
    now, said, file = [0.0], [], tmp_path / "tokens.toml"
    one = '[{}]\nscopes = ["events"]\ntoken = "{}"'
    file.write_text(one.format("old", "the old secret!!"))
    access = Access("", str(file), say=said.append, clock=lambda: now[0])
    assert access.admit("/v1/clicks", b"Bearer the old secret!!").name == "old"

    def replace(text):
        new = file.with_suffix(".new")
        new.write_text(text)
        os.replace(new, file)
        now[0] += 2.0

    replace(one.format("new", "the new secret!!"))
    assert access.admit("/v1/clicks", b"Bearer the new secret!!").name == "new"
    with pytest.raises(Problem):
        access.admit("/v1/clicks", b"Bearer the old secret!!")
    replace("[new\n")
    assert access.admit("/v1/clicks", b"Bearer the new secret!!").name == "new"
    assert "not TOML (at line 1" in said[-1]
    file.unlink()
    now[0] += 2.0
    assert access.admit("/v1/clicks", b"Bearer the new secret!!").name == "new"
    assert "No such file" in said[-1]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a", "not TOML"),
        ("a = 1", r"\[a\]: Expected `object`"),
        ('[a]\nscopes = ["all"]\ntoken = "0123456789abcdef"', "Invalid enum value 'all'"),
        ('[a]\nscopes = ["admin"]', "give token, or sha256"),
        ('[a]\nscopes = ["admin"]\ntoken = "short"', "16 characters or more"),
        ('[a]\nscopes = ["admin"]\nsha256 = "abc"', r"\[a\]"),
        ('[a]\nscopes = ["admin"]\nsha256 = "00"', "64 hexadecimal digits"),
        ('[a]\nscopes = ["admin"]\ntoken = "0123456789abcdef"\nmax_per_s = -1', "0 or more"),
    ],
)
def test_a_fault_in_the_tokens_is_named_without_a_secret(text, fault):
    with pytest.raises(ClicktideError, match=fault) as raised:
        read_tokens(text, "tokens.toml")
    assert str(raised.value).startswith("tokens.toml: ")
    assert "0123456789abcdef" not in str(raised.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_need_a_token_or_a_certificate(host, monkeypatch):
    monkeypatch.delenv("CLICKTIDE_TOKENS", raising=False)
    closed = {"tls_cert": "a", "tls_key": "b", "tls_client_ca": "c"}
    if host == "::" and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with listen(host, 0, "another") as listening:
        with pytest.raises(ClicktideError, match="without a token"):
            check_access(ServeSettings(), listening)
        check_access(ServeSettings(insecure=True), listening)
        check_access(ServeSettings(**closed), listening)
        monkeypatch.setenv("CLICKTIDE_TOKENS", TEXT)
        check_access(ServeSettings(), listening)
    with listen("127.0.0.1", 0, "another") as listening:
        monkeypatch.delenv("CLICKTIDE_TOKENS")
        check_access(ServeSettings(), listening)


def test_the_command_refuses_before_anything_is_served(tmp_path, monkeypatch):
    monkeypatch.delenv("CLICKTIDE_TOKENS", raising=False)
    asked = ["serve", "--dir", str(tmp_path), "--host", "0.0.0.0", "--port", "0"]
    ended = CliRunner().invoke(commands, asked)
    assert ended.exit_code != 0
    assert "serve.tokens" in str(ended.exception or ended.output)
