"""`tokenguard token`: what is reported of a token and of a refusal, and where secrets come from."""

import pytest
from commands import run
from hostile_server import HostileServer, respond

from tokenguard.testing import FakeIssuer


@pytest.fixture
def fake():
    issuer = FakeIssuer()
    with issuer.serve():
        yield issuer


def token(fake, *arguments, environment=None, **more):
    named = {"TOKENGUARD_CLIENT_SECRET": fake.client_secret} if environment is None else environment
    given = ("--issuer", fake.url, "--client-id", fake.client_id, "--allow-insecure-http")
    return run("token", *given, *arguments, environment=named, secret=fake.client_secret, **more)


def test_a_token_is_reported_and_not_shown(fake):
    ran = token(fake, "-s", "orders:read", "-s", "orders:write")
    assert ran.code == 0
    assert ran.out.splitlines() == ["type Bearer", "expires in 5 min", "scopes orders:read orders:write", "issued"]
    assert token(fake).out.splitlines()[2] == "scopes (none named)"


def test_for_machines(fake):
    document = token(fake, "--json", "--scope", "a").json
    assert 295 <= document.pop("expires_in") <= 300
    assert document == {
        "outcome": "issued",
        "exit_code": 0,
        "token_type": "Bearer",
        "scopes": ["a"],
        "issuer": fake.url,
    }


def test_the_raw_token_goes_into_check(fake):
    ran = token(fake, "--raw", "--resource", "https://api.example.com", "--scope", "orders:read")
    raw = ran.out.strip()
    assert (ran.code, raw.count(".")) == (0, 2)
    settings = ("-i", fake.url, "-a", "https://api.example.com", "--allow-insecure-http", "-s", "orders:read")
    assert run("check", "-", *settings, token=raw).code == 0
    assert run("check", "-", *settings, token=raw, environment={"TOKENGUARD_TOKEN": "x"}).code == 0


@pytest.mark.parametrize("arguments", [("a.b.c",), ("-", "--token-file", "x")])
def test_check_takes_no_token_as_an_argument(fake, arguments):
    ran = run("check", *arguments, "-i", fake.url, "-a", "x")
    assert (ran.code, "standard input" in ran.err, "a.b.c" in ran.err) == (2, True, False)


def test_the_secret_comes_from_a_file(fake, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text(fake.client_secret + "\n")
    monkeypatch.chdir(tmp_path)
    environment = {"TOKENGUARD_CLIENT_SECRET": "another"}
    assert token(fake, "--client-secret-file", "secret", environment=environment).code == 0
    assert token(fake, environment={"TOKENGUARD_CLIENT_SECRET_FILE": str(tmp_path / "secret")}).code == 0


def test_everything_may_come_from_the_environment(fake):
    named = {
        "ISSUER": fake.url,
        "ID": fake.client_id,
        "SECRET": fake.client_secret,
        "SCOPE": "a",
        "AUTH": "client_secret_post",
    }
    environment = {f"TOKENGUARD_CLIENT_{name}": value for name, value in named.items()}
    ran = run(
        "token", "--allow-insecure-http", "--http-timeout", "5", environment=environment, secret=fake.client_secret
    )
    assert (ran.code, "scopes a" in ran.out) == (0, True)


def test_a_refusal_names_the_code_and_what_the_server_says(fake):
    fake.publish("token", {"error": "invalid_scope", "error_description": "No such scope."}, status=400)
    ran = token(fake, "--raw", "--audience", "x", "--client-auth", "client_secret_post")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[:2] == ["refused (invalid_scope)", "the server says: No such scope."]
    assert "next: " in ran.err
    document = token(fake, "--json").json
    assert (document["outcome"], document["error"], document["error_description"], document["exit_code"]) == (
        "refused",
        "invalid_scope",
        "No such scope.",
        1,
    )
    fake.publish("token", {"error": "odd"}, status=400)
    assert token(fake).err.splitlines()[0] == "refused (no registered code)"


def test_no_usable_answer(fake):
    with fake.outage("refuse", "token"):
        ran = token(fake)
        assert (ran.code, ran.err.splitlines()[0].startswith("could not tell (")) == (3, True)
        assert ran.err.splitlines()[1].startswith("next: check the address, DNS, firewall and proxy")
        assert token(fake, "--json").json["outcome"] == "unavailable"
    unlike = token(fake, "--issuer", f"{fake.url}/")
    assert (unlike.code, unlike.err.splitlines()[0]) == (3, "could not tell (no_metadata_of_this_issuer)")
    assert unlike.err.splitlines()[1].startswith("next: write the issuer as its metadata spells it, a final slash incl")


def test_a_server_that_says_odd_things_is_quoted_safely():
    body = b'{"error":"invalid_scope","error_description":"\\u001b[31m red \\u0007"}'
    with HostileServer(respond("400 Bad Request", body)) as server:
        settings = ("-i", server.url, "--client-id", "a", "--token-endpoint", server.url, "--allow-insecure-http")
        ran = run("token", *settings, environment={"TOKENGUARD_CLIENT_SECRET": "b"})
    assert (ran.code, "the server says: [31m red" in ran.err, "\x1b" in ran.err) == (1, True, False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--client-secret-file", "/nowhere/secret"),
            "--client-secret-file or TOKENGUARD_CLIENT_SECRET_FILE: the secret file cannot be read",
        ),
        (("--client-auth", "basic"), "--client-auth or TOKENGUARD_CLIENT_AUTH must be one of"),
        (("--http-timeout", "soon"), "--http-timeout must be a number"),
        (("--scope", ""), "--scope or TOKENGUARD_CLIENT_SCOPE must not be empty"),
        (("--audience", " "), "--audience or TOKENGUARD_CLIENT_AUDIENCE must not be empty"),
        (("--scope", 'a"b'), "scope"),
    ],
)
def test_bad_settings(fake, arguments, said):
    ran = token(fake, *arguments)
    assert (ran.code, said in ran.err, ran.out) == (2, True, "")


def test_a_secret_is_missing_or_unreadable(fake, tmp_path):
    assert token(fake, environment={}).code == 2
    (tmp_path / "secret").write_text("")
    ran = token(fake, "--client-secret-file", tmp_path / "secret")
    assert (ran.code, "empty" in ran.err) == (2, True)
