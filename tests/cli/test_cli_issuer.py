"""`tokenguard issuer` and `demo`, and the command without its extra: real processes."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from commands import run
from real_servers import ROOT, clean
from typer.main import get_command

from tokenguard import cli
from tokenguard.cli import demo as demo_module
from tokenguard.cli import development_issuer
from tokenguard.cli.app import app
from tokenguard.testing.tokens import b64url

COMMAND = [sys.executable, "-m", "tokenguard.cli"]


@contextmanager
def issuer(*arguments, **environment):
    process = subprocess.Popen(
        [*COMMAND, "issuer", *arguments],
        env=clean(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def document(process):
    text = ""
    for line in process.stdout:
        text += line
        if line == "}\n":
            return json.loads(text)
    raise AssertionError(process.stderr.read())


def shell(script, **environment):
    done = subprocess.run(
        ["sh", "-ec", script], env=clean(environment), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_the_curl_lines_can_be_pasted_and_a_signal_ends_it():
    with issuer("--json", "--scope", "orders:read", "--algorithm", "ES256") as process:
        facts = document(process)
        curl = facts["curl"]
        script = (
            f"{curl['token']}\n{curl['introspect']}\n{curl['revoke']}\necho\n{curl['introspect']}\necho\necho $TOKEN"
        )
        before, after, token = shell(script).splitlines()
        assert json.loads(before)["scope"] == "orders:read"
        assert json.loads(after) == {"active": False}
        assert json.loads(shell(curl["metadata"]))["issuer"] == facts["issuer"]
        ran = run("check", "--scope", "orders:read", token=token, environment=facts["environment"])
        assert ran.code == 0, ran.out + ran.err
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_a_given_secret_is_used_and_not_shown():
    secret = "a 'secret' of $HOME"
    arguments = ("--json", "--client-id", "my client", "--opaque", "-a", "one", "-a", "two")
    with issuer(*arguments, TOKENGUARD_CLIENT_SECRET=secret) as process:
        facts = document(process)
        assert secret not in json.dumps(facts)
        assert facts["client_secret"] is None
        assert facts["environment"]["TOKENGUARD_AUDIENCE"] == "one two"
        script = f"{facts['curl']['token']}\n{facts['curl']['introspect']}"
        answer = json.loads(shell(script, TOKENGUARD_CLIENT_SECRET=secret))
        assert answer["active"] is True
        assert answer["client_id"] == "my client"


def test_people_read_the_same_and_ctrl_c_is_a_clean_end():
    with issuer(TOKENGUARD_CLIENT_SECRET="hush-hush") as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "# metadata\n":
                break
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
        said = "".join(lines) + rest
        assert process.returncode == 0
        assert errors == ""
        assert "never for production" in said
        assert "as in $TOKENGUARD_CLIENT_SECRET" in said
        assert "# token, in a terminal where TOKENGUARD_CLIENT_SECRET is set" in said
        assert "export TOKENGUARD_ALLOW_INSECURE_HTTP=true" in said
        assert "hush-hush" not in said


def token(facts):
    form = {"grant_type": "client_credentials", "scope": "orders:read"}
    answer = httpx.post(
        facts["token_endpoint"], data=form, auth=(facts["client_id"], facts["client_secret"]), trust_env=False
    )
    return answer.json()["access_token"]


def test_roles_claims_and_people():
    claims = ("--claim", 'tenant="north=1"', "--claim", "levels=[1, {}]", "--role", "staff", "--role", "staff")
    people = ("--person", "carol", "--person", 'dave={"roles": ["admin"], "key": "dave"}')
    with issuer("--json", *claims, *people) as process:
        facts = document(process)
        assert facts["people"] == ["carol", "dave"]
        decoded = jwt.decode(token(facts), options={"verify_signature": False})
        assert (decoded["tenant"], decoded["levels"], decoded["roles"]) == ("north=1", [1, {}], ["staff"])
        init = facts["swagger_ui_init_oauth"]
        assert init == {"clientId": "client", "scopes": "orders:read", "usePkceWithAuthorizationCodeGrant": True}
        asked = {
            "response_type": "code",
            "client_id": init["clientId"],
            "redirect_uri": "http://localhost:8000/docs/oauth2-redirect",
            "scope": init["scopes"],
            "code_challenge": b64url(hashlib.sha256(b"v" * 43).digest()),
            "code_challenge_method": "S256",
        }
        back = httpx.post(
            facts["authorization_endpoint"], data={**asked, "person": "dave"}, trust_env=False, timeout=60
        )
        [code] = parse_qs(urlsplit(back.headers["location"]).query)["code"]
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": "v" * 43}
        form |= {name: asked[name] for name in ("client_id", "redirect_uri")}
        raw = httpx.post(facts["token_endpoint"], data=form, trust_env=False, timeout=60).json()["access_token"]
        decoded = jwt.decode(raw, options={"verify_signature": False})
        assert (decoded["sub"], decoded["roles"], decoded["tenant"]) == ("dave", ["admin"], "north=1")
        ran = run("check", "--scope", "orders:read", token=raw, environment=facts["environment"])
        assert ran.code == 0, ran.out + ran.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--claim", "tenant"], "NAME=JSON"),
        (["--claim", '="x"'], "NAME=JSON"),
        (["--claim", "tenant=north"], "quotes"),
        (["--claim", "tenant="], "quotes"),
        (["--claim", 'tenant="a","b":1'], "quotes"),
        (["--claim", "tenant=NaN"], "quotes"),
        (["--claim", "tenant=1}"], "quotes"),
        (["--claim", "tenant=\udcff"], "quotes"),
        (["--claim", "tenant=1", "--claim", "tenant=2"], "once"),
        (["--claim", "exp=1"], "exp, which the issuer sets itself: leave it out"),
        (["--claim", 'aud="x"'], "--audience"),
        (["--claim", 'roles=["a"]', "--role", "b"], "exclude each other"),
        (["--role", ""], "--role"),
        (["--person", ""], "--person"),
        (["--person", "={}"], "--person"),
        (["--person", "al\nice"], "--person"),
        (["--person", "alice", "--person", "alice={}"], "--person"),
        (["--person", 'alice="x"'], "JSON object"),
        (["--person", 'alice={"sub": "x"}'], "--person"),
    ],
)
def test_people_and_claims_that_cannot_be(arguments, text):
    ran = run("issuer", *arguments)
    assert ran.code == 2
    assert text in ran.err


def test_keys_stay_the_same_after_a_restart(tmp_path):
    path = tmp_path / "keys.json"
    seen = []
    raw = ""
    for _ in range(2):
        with issuer("--json", "--keys", path, "--algorithm", "ES256") as process:
            facts = document(process)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            seen.append(httpx.get(facts["jwks_uri"], trust_env=False, timeout=60).json())
            assert "d" not in seen[-1]["keys"][0]
            raw = raw or token(facts)
            claims = jwt.decode(raw, jwt.PyJWK(seen[-1]["keys"][0]), ["ES256"], audience=facts["audience"])
            assert claims["client_id"] == "client"
    assert seen[0] == seen[1]


def test_without_a_file_each_key_has_a_name_of_its_own():
    """An API that kept the key of an issuer before must see that it is another one."""
    seen = set()
    for _ in range(2):
        with issuer("--json") as process:
            [key] = httpx.get(document(process)["jwks_uri"], trust_env=False, timeout=60).json()["keys"]
            seen.add(key["kid"])
    assert len(seen) == 2


def test_a_key_file_that_cannot_be_used(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text("{}")
    path.chmod(0o644)
    ran = run("issuer", "--keys", path)
    assert (ran.code, "the file of --keys can be read by others" in ran.err) == (2, True)


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_only_keys_that_can_be_published(algorithm):
    ran = run("issuer", "--algorithm", algorithm)
    assert ran.code == 2
    assert "asymmetric" in ran.err


def test_a_port_that_is_taken():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ran = run("issuer", "--port", taken.getsockname()[1])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert ran.code == 2
    assert "is it taken?" in ran.err


class Signalled(threading.Event):
    """Sends this process a signal once somebody waits: its handler is set by then."""

    def wait(self, timeout=None):
        os.kill(os.getpid(), signal.SIGTERM)
        return super().wait(timeout)


@pytest.mark.parametrize("arguments", [["--json"], []])
def test_issuer_in_this_process(arguments, monkeypatch):
    """The whole command once more without a process of its own, ended by its own signal."""
    monkeypatch.setattr(development_issuer, "threading", SimpleNamespace(Event=Signalled))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ran = run("issuer", *arguments)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert ran.code == 0
    assert "client_secret" in ran.out


# demo


@pytest.mark.parametrize(("code", "as_expected"), [(0, True), (1, False)])
def test_demo_is_the_demonstration_with_its_exit_code(monkeypatch, code, as_expected):
    def shown(out):
        out.write("one\ntwo\n")
        return code

    monkeypatch.setattr("tokenguard._demo.demonstration.run", shown)
    ran = run("demo", "--json")
    assert ran.code == code
    assert ran.json == {"as_expected": as_expected, "lines": ["one", "two"]}
    assert run("demo").out == "one\ntwo\n"


def test_demo_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(demo_module, "find_spec", lambda name: None if name == "uvicorn" else object())
    ran = run("demo")
    assert ran.code == 2
    assert "uvicorn" in ran.err


# The entry point


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_so(missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.err == 'tokenguard: the command line is an extra: pip install "tokenguard-oauth[cli]"\n'
    assert said.out == ""


def test_main_runs_the_command_of_argv(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tokenguard", "--help"])
    with pytest.raises(SystemExit) as ended:
        import_module("tokenguard.cli.__main__").main()
    assert ended.value.code == 0
    assert "Exit codes" in capsys.readouterr().out


def test_the_command_is_installed_and_lists_its_commands():
    script = Path(sys.executable).parent / "tokenguard"
    command = [script] if script.exists() else COMMAND
    done = subprocess.run([*command, "--help"], env=clean({}), capture_output=True, text=True, timeout=60, check=True)
    for name in ("check", "doctor", "issuer", "demo"):
        assert f"  {name} " in done.stdout
    wrong = subprocess.run([*COMMAND, "nonsense"], env=clean({}), capture_output=True, timeout=60, check=False)
    assert wrong.returncode == 2


def test_the_page_names_every_option_and_no_other():
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")

    def whole(command):
        yield command
        for below in getattr(command, "commands", {}).values():
            yield from whole(below)

    known = {
        option
        for command in whole(get_command(app))
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and option != "--help"
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page))
    assert named == known


def test_the_version_is_that_of_the_distribution():
    ran = run("--version")
    assert (ran.code, ran.out) == (0, f"tokenguard {version('tokenguard-oauth')}\n")
