"""`tokenguard check`: the verdict is the validator's, the cause is named, and the token is never shown."""

import json
import os
import pty
import re
import subprocess
import sys
from random import Random

import pytest
from commands import run
from real_servers import clean

from tokenguard import ConfigurationError, Issuer, Reason, TokenValidator
from tokenguard.cli import causes, output
from tokenguard.cli.check import examine_token
from tokenguard.cli.options import secret_from
from tokenguard.cli.wording import in_options
from tokenguard.testing import ABSENT, FakeIssuer


@pytest.fixture(scope="module")
def fake():
    issuer = FakeIssuer()
    with issuer.serve():
        yield issuer


def check(fake, token, *arguments, **settings):
    return run(
        "check", "-i", fake.url, "-a", fake.audience, "--allow-insecure-http", *arguments, token=token, **settings
    )


def introspecting(fake, when):
    return {
        "TOKENGUARD_INTROSPECTION_CLIENT_ID": fake.client_id,
        "TOKENGUARD_INTROSPECTION_CLIENT_SECRET": fake.client_secret,
        "TOKENGUARD_INTROSPECTION_WHEN": when,
    }


# Verdicts


def test_a_good_token_passes_every_check(fake):
    ran = check(fake, fake.mint("orders:read orders:list", roles=["clerk"]), "-s", "orders:read", "--json")
    assert ran.code == 0
    report = ran.json
    assert {one["status"] for one in report["checks"]} == {"passed"}
    assert [one["name"] for one in report["checks"]][-1] == "scope"
    assert (report["verdict"], report["exit_code"], report["reason"], report["cause"]) == ("accepted", 0, None, None)
    assert 290 < report["expires_in"] <= 300
    assert report["key"]["kid"] == "key-1"
    assert report["key"]["age"] < 10
    assert report["token"]["roles"] == ["clerk"]
    assert report["token"]["scopes"] == ["orders:list", "orders:read"]


def test_people_read_the_same(fake):
    ran = check(fake, fake.mint(), "--scope", "orders:read")
    assert ran.code == 1
    assert "x  scope              all of orders:read" in ran.out
    assert 'rejected, scope: "none", so orders:read is missing' in ran.out
    assert re.search(r"expires in [1-5] min|expires in \d+ s", ran.out)
    assert re.search(r'key "key-1" \(RSA, fetched \d+ (s|min) ago\)', ran.out)
    assert "next: token rejected (scope)" in ran.out
    assert all(line == line.rstrip() for line in ran.out.splitlines())
    accepted = check(fake, fake.mint())
    assert accepted.code == 0
    assert accepted.out.rstrip().endswith("accepted")
    expired = check(fake, fake.expired())
    assert "expired 1 h" in expired.out


def kinds(introspected):
    return list(FakeIssuer().bad_tokens(introspected=introspected))


# The check that must be named as the cause, where it is not the reason itself.
CAUSES = {
    "expired": "expiry",
    "not_yet_valid": "not before",
    "issued_in_future": "issued at",
    "no_expiry": "required claims",
    "unknown_kid": "key",
    "other_algorithm": "key",
    "alg_none": "algorithm",
    "hs256_with_public_key": "algorithm",
    "too_large": "size",
    "logout_token": "type",
    "dpop_proof": "type",
    "type_null": "type",
    "revoked": "introspection",
    "unknown_opaque": "introspection",
    "not_json": "payload",
    "not_an_object": "payload",
    "duplicate_header_member": "header",
    "duplicate_claim": "payload",
    "not_a_number": "payload",
    "infinite": "payload",
    "deep_nesting": "payload",
    "too_many_members": "payload",
    "utf16": "payload",
}
BY_REASON = {
    Reason.ISSUER: "issuer",
    Reason.AUDIENCE: "audience",
    Reason.INVALID_CLAIM: "claim types",
    Reason.TYPE: "kind",
    Reason.CONFIRMATION: "confirmation",
    Reason.SIGNATURE: "signature",
}
FORM = {"not_a_token", "two_segments", "stripped_signature", "unsecured", "empty_payload", "encrypted", "not_ascii"}
ENCODING = {"not_base64", "padded", "standard_base64", "trailing_bits"}
PARAMETERS = {"critical", "unencoded_payload", "kid_as_number", "kid_too_long"}
FOUND = {
    "issuer_with_slash": "differs only by a slash",
    "encrypted": "JWE",
    "not_a_token": "introspection",
    "unsecured": "alg none",
    "padded": "signature: padded with =",
    "trailing_bits": "payload: bits at its end",
    "duplicate_claim": "duplicate name",
    "not_a_number": "NaN",
    "infinite": "not finite",
    "deep_nesting": "64 levels",
    "too_many_members": "1,000 members",
    "utf16": "not UTF-8",
    "critical": "crit",
    "unencoded_payload": "b64",
    "kid_as_number": "not a string",
    "kid_too_long": "512",
    "unknown_kid": 'not in the set, which has "key-1"',
    "other_algorithm": "serves RS256",
    "expiry_as_string": "exp is",
    "subject_empty": 'sub is ""',
    "no_audience": "absent",
    "dpop_bound": '"jkt"',
    "cognito_id_token": 'token_use is "id"',
    "no_expiry": "missing: exp",
}


def expected_cause(kind, reason):
    if kind in FORM:
        return "form"
    if kind in ENCODING:
        return "encoding"
    return "header parameters" if kind in PARAMETERS else CAUSES.get(kind) or BY_REASON[reason]


@pytest.mark.parametrize("kind", kinds(introspected=False))
def test_the_cause_of_each_bad_token_is_named(fake, kind):
    token, reason = fake.bad_tokens()[kind]
    ran = check(fake, token, "--json")
    assert ran.code == 1
    assert ran.json["reason"] == reason
    assert ran.json["cause"] == expected_cause(kind, reason)
    cause = ran.check(ran.json["cause"])
    assert cause["status"] == "failed"
    assert cause["reason"] == reason
    assert FOUND.get(kind, "") in cause["found"]
    failed = [one for one in ran.json["checks"] if one["status"] == "failed"]
    assert cause == failed[0]


@pytest.mark.parametrize("kind", kinds(introspected=True))
def test_the_cause_is_named_where_tokens_are_introspected_too(fake, kind):
    token, reason = fake.bad_tokens(introspected=True)[kind]
    ran = check(fake, token, "--json", environment=introspecting(fake, "always"), secret=fake.client_secret)
    assert ran.code == 1
    assert ran.json["reason"] == reason
    assert ran.json["cause"] == expected_cause(kind, reason)


def test_a_status_claim_that_nothing_reads_is_a_finding_and_no_fault(fake):
    status = {"status_list": {"idx": 0, "uri": "https://auth.example.com/1"}}
    ran = check(fake, fake.mint(status=status), "--json")
    assert (ran.code, ran.json["verdict"], ran.json["cause"]) == (0, "accepted", None)
    assert ran.json["checks"][-1]["name"] == "status"
    assert ran.json["checks"][-1]["status"] == "warning"
    assert "!  status " in check(fake, fake.mint(status=status)).out
    assert not [
        one for one in check(fake, fake.mint(status="valid"), "--json").json["checks"] if one["name"] == "status"
    ]
    assert check(fake, fake.expired(status=status), "--json").json["checks"][-1]["name"] == "status"


def test_every_fault_is_shown_past_the_first(fake):
    token = fake.mint(aud="https://other.example", exp=1, nbf=9_000_000_000, cnf={}, typ="ID", iss="x", sub=7)
    checks = {one["name"]: one["status"] for one in check(fake, token, "--json").json["checks"]}
    failed = {"issuer", "audience", "claim types", "expiry", "not before", "kind", "confirmation"}
    assert {name for name, status in checks.items() if status == "failed"} == failed
    assert checks["signature"] == "passed"


def test_what_cannot_be_checked_is_not_reached(fake):
    header, payload, signature = fake.mint().split(".")
    checks = {one["name"]: one["status"] for one in check(fake, f"{header}.{payload}.!", "--json").json["checks"]}
    assert checks["encoding"] == "failed"
    assert checks["signature"] == "not_reached"
    assert checks["audience"] == "passed"
    both = check(fake, f"{header[:-1]}=.{payload}.{signature}", "--json")
    assert both.check("header")["status"] == "not_reached"
    assert both.check("issuer")["status"] == "passed"


# Sources


def test_the_token_comes_from_a_file_the_environment_or_standard_input(fake, tmp_path):
    token = fake.mint()
    path = tmp_path / "token"
    path.write_text(f"Authorization: Bearer {token}\n")
    assert check(fake, "", "-t", path).code == 0
    assert check(fake, "", environment={"TOKENGUARD_TOKEN": f" bearer {token} "}).code == 0
    assert check(fake, f"{token}\n", "-t", "-").code == 0
    missing = check(fake, "", "-t", tmp_path / "absent")
    assert missing.code == 2
    assert missing.err == "tokenguard: the token cannot be read from the given file (FileNotFoundError)\n"


def test_standard_input_is_free_for_keys_where_a_variable_has_the_token(fake):
    arguments = ("check", "-i", fake.url, "-a", fake.audience, "--jwks", "-")
    keys, environment = json.dumps(fake.jwks()), {"TOKENGUARD_TOKEN": fake.mint()}
    assert run(*arguments, token=keys, environment=environment).code == 0
    assert run(*arguments, "-", token=keys, environment=environment).code == 2


def test_a_terminal_is_not_asked_since_it_would_echo(fake):
    ours, theirs = pty.openpty()
    arguments = ["check", "-i", fake.url, "-a", fake.audience, "--allow-insecure-http"]
    done = subprocess.run(
        [sys.executable, "-m", "tokenguard.cli", *arguments],
        stdin=theirs,
        env=clean({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert "give the token on standard input" in done.stderr


def test_a_terminal_is_told_what_to_do_instead(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb"), os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(ConfigurationError, match="TOKENGUARD_NONE"):
            secret_from(None, "TOKENGUARD_NONE")


@pytest.mark.parametrize("option", ["--issuer", "--audience", "--algorithm", "--client", "--profile", "--leeway"])
def test_an_option_without_a_value_is_not_left_out(option):
    ran = run("check", option, " ", token="x")
    assert (ran.code, ran.err) == (2, f"tokenguard: {option} must not be empty\n")


def test_settings_come_from_an_environment_file_before_the_environment(fake, tmp_path):
    path = tmp_path / "env"
    path.write_text(
        f"# a comment=x\nexport TOKENGUARD_ISSUER='{fake.url}'\nTOKENGUARD_AUDIENCE={fake.audience}\n"
        "TOKENGUARD_ALLOW_INSECURE_HTTP=true\nnothing\n"
    )
    ran = run("check", "--env-file", path, token=fake.mint(), environment={"TOKENGUARD_ISSUER": "https://x.example"})
    assert ran.code == 0


def test_offline_at_a_time_and_without_a_socket(fake, tmp_path):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(fake.jwks()))
    token = fake.mint(iss="any string", exp=2_000_000_000, iat=1_900_000_000)
    base = ("check", "-i", "any string".replace(" ", "-"), "-a", fake.audience, "--jwks", path)
    offline = fake.mint(iss="any-string", exp=2_000_000_000, iat=1_900_000_000)
    before = fake.counters.total
    for at in ("1950000000", "2031-10-17T10:40:00Z", "2031-10-17T10:40:00"):
        ran = run(*base, "--at", at, "--json", token=offline)
        assert ran.code == 0, ran.out
        assert ran.json["key"]["age"] is None
    assert "static" in run(*base, "--at", "1950000000", token=offline).out
    late = run(*base, "--at", "2050-01-01", "--algorithm", "RS256", "--profile", "rfc9068", token=offline)
    assert late.code == 1
    assert "static)" in late.out
    assert fake.counters.total == before
    assert run(*base, token=token).code == 1
    piped = run(*base[:-1], "-", "-t", tmp_path / "token", token=json.dumps(fake.jwks()))
    assert piped.err.startswith("tokenguard: the token cannot be read")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("TOKENGUARD_LEEWAY is not readable", "--leeway or TOKENGUARD_LEEWAY is not readable"),
        ("TOKENGUARD_INTROSPECTION_WHEN is odd", "TOKENGUARD_INTROSPECTION_WHEN is odd"),
        ("http_timeout must be more than 0", "--http-timeout must be more than 0"),
        ("algorithms must not contain none", "--algorithm must not contain none"),
        ("clients must not be empty", "--client must not be empty"),
        ("a required scope must be ASCII", "--scope: a required scope must be ASCII"),
        (
            'audience must not be empty: write audience="https://a"',
            '--audience must not be empty: write --audience "https://a"',
        ),
        ("issuer must be https; set allow_insecure_http=True", "--issuer must be https; set --allow-insecure-http"),
        ("an issuer may be any; give jwks_uri or jwks", "an issuer may be any; give --jwks-uri or --jwks"),
        ("jwks_uri must be like https://i.example/jwks", "--jwks-uri must be like https://i.example/jwks"),
        ("the same: give each iss one Issuer(...)", "the same: give each once"),
        ("one only: for several write Issuer(...) in code", "one only: give one --issuer"),
        (
            "TOKENGUARD_CLIENT_ALLOW_INSECURE_HTTP is no setting: give allow_insecure_http=... in code",
            "TOKENGUARD_CLIENT_ALLOW_INSECURE_HTTP is no setting: write --allow-insecure-http",
        ),
        (
            "TOKENGUARD_CLIENT_HTTP_TIMEOUT is no setting: give http_timeout=... in code",
            "TOKENGUARD_CLIENT_HTTP_TIMEOUT is no setting: write --http-timeout",
        ),
    ],
)
def test_errors_name_options_instead_of_settings(text, words):
    assert in_options(text) == words


def test_a_token_for_microsoft_graph_is_explained(fake):
    sent = fake.mint()
    assert "altered" in check(fake, f"{sent[:-8]}AAAAAAAA", "--json").check("signature")["found"]
    header, payload, _ = fake.sign({"alg": "RS256", "kid": fake.key.kid, "nonce": "n"}, {"iss": fake.url}).split(".")
    graph = check(fake, f"{header}.{payload}.{sent.rpartition('.')[2]}", "--json")
    assert graph.code == 1
    assert "another API (Microsoft Graph)" in graph.check("signature")["found"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-a", "x"], "TOKENGUARD_ISSUER must be set"),
        (["-i", "https://i.example", "-a", "x", "--leeway", "-1"], "--leeway must be at least 0"),
        (["-i", "http://i.example", "-a", "x"], "set --allow-insecure-http"),
        (["--preset", "okta", "-a", "x"], 'write "okta DOMAIN [SERVER]"'),
        (["--preset", "keycloak", "-a", "x"], 'write "keycloak BASE_URL REALM [roles_of=ROLES_OF]"'),
        (["--preset", "entra common", "-a", "x"], "--preset entra: tenant_id must be"),
        (["-i", "https://i.example"], "TOKENGUARD_AUDIENCE must be set"),
        (["-i", "https://i.example", "-a", "x", "--at", "noon"], "--at must be"),
        (["-i", "https://i.example", "-a", "x", "--at", "nan"], "--at must be"),
        (["-i", "https://i.example", "-a", "x", "--jwks", "-"], "only one of the token and --jwks"),
        (["-i", "https://i.example", "-i", "https://j.example", "-a", "x", "--jwks", __file__], "must hold a JWK set"),
        (["-i", "a", "-i", "b", "-a", "x", "--jwks", "JWKS"], "exactly one --issuer"),
        (["--preset", "nobody", "-a", "x"], "--preset must begin with one of auth0"),
        (["--preset", "okta 'x", "-a", "x"], "--preset must begin with one of auth0"),
        (["--preset", "auth0", "-a", "x"], "the arguments of --preset do not fit"),
        (["--preset", "auth0 https://x/", "-a", "x"], "domain must be a host"),
        (["-i", "http://i.example", "-a", "x"], "must be https"),
        (["-i", "https://i.example", "-a", "x", "--leeway", "soon"], "TOKENGUARD_LEEWAY"),
        (["-i", "https://i.example", "-a", "x", "-s", 'a"b'], "a required scope must be"),
    ],
)
def test_a_wrong_use_is_2_and_one_line(fake, tmp_path, arguments, text):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(fake.jwks()))
    ran = run("check", *[path if one == "JWKS" else one for one in arguments], token=fake.mint())
    assert ran.code == 2
    assert ran.err.startswith("tokenguard: ")
    assert text in ran.err
    assert ran.out == ""


def test_presets_take_words_and_names(fake, tmp_path):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(fake.jwks()))
    tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
    claims = {"iss": f"https://sts.windows.net/{tenant}/", "appid": "app", "ver": "1.0", "idtyp": "app"}
    token = fake.mint(header={"typ": "JWT"}, **claims)
    ran = run(
        "check", "--preset", f"entra {tenant} version=1", "-a", fake.audience, "--jwks", path, "--json", token=token
    )
    assert ran.code == 0, ran.out
    assert ran.json["token"]["client_id"] == "app"
    assert ran.json["token"]["is_machine"] is True
    assert ran.check("client and values")["expected"] == 'ver is "1.0"'
    for changes, found in (
        ({"ver": "2.0"}, 'ver is "2.0"'),
        ({"ver": ABSENT}, "ver is absent"),
        ({"appid": 7}, "appid is 7"),
    ):
        bad = fake.mint(header={"typ": "JWT"}, **{**claims, **changes})
        ran = run(
            "check", "--preset", f"entra {tenant} version=1", "-a", fake.audience, "--jwks", path, "--json", token=bad
        )
        assert ran.code == 1
        assert any(one["found"] == found for one in ran.json["checks"] if one["status"] == "failed")
    okta = run("check", "--preset", "okta example.okta.com", "-a", "x", "--at", "0", "--http-timeout", "0.05", token="")
    assert okta.code == 1


def test_clients(fake):
    accepted = check(fake, fake.mint(), "--client", "client", "--json")
    assert accepted.code == 0
    refused = check(fake, fake.mint(client_id="other"), "--client", "client", "--json")
    assert (refused.json["reason"], refused.json["cause"]) == ("client", "client and values")
    assert refused.check("client and values")["found"] == 'client "other"'
    nobody = check(fake, fake.mint(client_id=ABSENT), "--client", "client", "--json")
    assert nobody.check("client and values")["found"] == "no client"


# Keys


def test_could_not_tell_is_3(fake):
    with fake.outage("error", "jwks"):
        ran = check(fake, fake.mint(), "--json")
        words = check(fake, fake.mint())
    assert ran.code == words.code == 3
    assert (ran.json["verdict"], ran.json["reason"]) == ("could_not_tell", None)
    assert ran.check("key") == {
        "name": "key",
        "status": "unknown",
        "expected": "exactly one key fits kid and alg",
        "found": "the keys are unavailable",
        "reason": None,
    }
    assert "(status_500); tokenguard doctor" in ran.json["next_step"]
    assert "could not tell\n" in words.out
    assert ran.check("audience")["status"] == "passed"


def test_keys_that_do_not_tell_apart(fake):
    other = FakeIssuer()
    other.rotate(keep_old=True, same_kid=True)
    for number in range(9):
        other.add_key("ES256", kid=f"ec-{number}")
    with other.serve():
        doubled = check(other, other.mint(), "--json")
        unknown = check(other, other.mint(header={"kid": "gone"}), "--json")
        none = check(other, other.mint(header={"kid": ABSENT}, key=other.key), "--json")
        no_fit = check(other, other.mint(header={"kid": ABSENT, "alg": "ES384"}, key=other.key), "--json")
    assert "2 different keys named" in doubled.check("key")["found"]
    assert unknown.check("key")["found"].endswith(" and 3 more")
    assert none.code == 0
    assert none.check("key")["found"] == "no kid, so 2 fitting keys are tried"
    assert no_fit.check("key")["found"].startswith("no key for ES384: kid null serves ES256, ")


def test_several_issuers(fake):
    other = FakeIssuer()
    with other.serve():
        arguments = ("check", "-i", fake.url, "-i", other.url, "-a", fake.audience, "--allow-insecure-http", "--json")
        assert run(*arguments, token=other.mint()).code == 0
        ran = run(*arguments, "-s", "a", token=fake.wrong_issuer(cnf={"jkt": "x"}))
        list_for_issuer = run(*arguments, token=fake.mint(iss=[fake.url]))
        not_json = run(*arguments, token=fake.sign({"alg": "RS256"}, b"[]"))
    statuses = {one["name"]: one["status"] for one in ran.json["checks"]}
    assert statuses["issuer"] == statuses["confirmation"] == "failed"
    assert statuses["key"] == statuses["audience"] == statuses["scope"] == "not_reached"
    assert statuses["expiry"] == "passed"
    assert list_for_issuer.json["cause"] == "issuer"
    assert not_json.json["cause"] == "payload"


# Introspection


def test_opaque_tokens_are_validated_by_introspection(fake):
    environment = introspecting(fake, "opaque")
    secret = fake.client_secret
    good = check(fake, fake.mint_opaque("a"), "--json", "-s", "a", environment=environment, secret=secret)
    assert good.code == 0
    assert [(one["name"], one["status"]) for one in good.json["checks"]] == [
        ("form", "passed"),
        ("introspection", "passed"),
    ]
    assert good.json["expires_in"] is None
    foreign = check(fake, fake.mint_opaque(aud="x"), "--json", environment=environment, secret=secret)
    assert foreign.check("introspection")["found"] == "active, and rejected here: audience"
    scope = check(fake, fake.mint_opaque(), "--json", "-s", "a", environment=environment, secret=secret)
    assert scope.json["reason"] == "scope"
    with fake.outage("error", "introspection"):
        away = check(fake, fake.mint_opaque(), "--json", environment=environment, secret=secret)
    assert away.code == 3
    assert away.check("introspection")["status"] == "unknown"


def test_a_jwt_that_is_introspected_and_fails_before_is_not_asked_about(fake):
    ran = check(fake, fake.expired(), "--json", environment=introspecting(fake, "always"), secret=fake.client_secret)
    assert ran.check("introspection")["status"] == "not_reached"


# Words


def test_what_a_stranger_wrote_cannot_paint_the_terminal(fake):
    token = fake.mint(aud="\x1b[2J\x9b1m[bold red]evil\u202e" + "x" * 500)
    ran = check(fake, token)
    assert not set(ran.out) & {"\x1b", "\x9b", "\u202e"}
    assert "[bold red]evil\\u202e" in ran.out


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf{}", "a byte order mark"),
        (b"7", "JSON, but no object: a number"),
        (b'"x"', "JSON, but no object: a string"),
        (b"null", "JSON, but no object: null"),
        (b"[" * 100_000, "nested deeper than 64 levels"),
        (b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", "nested deeper than 64 levels"),
        (b'{"a":"\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_causes_of_json(data, why):
    assert causes.of_json(data) == why


def test_causes_of_other_texts():
    assert causes.of_form("") == "nothing at all"
    assert causes.of_form("a.b.c.d") == "4 segments"
    assert causes.of_base64url("aaaaa") == "cut short, or one character too many"
    assert causes.of_header({"enc": "A256GCM"}) == "enc: an encrypted token (JWE)"


def test_words_for_values_and_spans():
    loop = []
    loop.append(loop)
    assert output.shown(loop) == "(cannot be shown)"
    assert output.duration(0.2) == "0 s"
    assert output.duration(-93_784) == "1 d 2 h"


def test_a_terminal_gets_colours(fake, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    assert "\x1b[" in check(fake, fake.mint()).out


# The explanation and the verdict

ODD = [
    *(None, True, 0, -1, 1.5, 10**400, 1e308, "", "x", "b" * 600, "\ud800", "é", [], ["a"], [1], [[[]]], {}, {"a": 1}),
    *("access", "ID", "Bearer", "https://issuer.example", "https://api.example.com", "at+jwt", "JWT", "RS256", "none"),
]
CLAIMS = [
    "iss",
    "aud",
    "exp",
    "nbf",
    "iat",
    "sub",
    "client_id",
    "jti",
    "cnf",
    "token_use",
    "typ",
    "events",
    "scope",
    "azp",
]
HEADERS = ["alg", "kid", "typ", "crit", "b64", "enc", "jku", "x5c"]


def bent(random, members, names):
    for name in random.choices(names, k=random.choice([0, 0, 1, 2])):
        if random.random() < 0.2:
            members.pop(name, None)
        else:
            members[name] = random.choice(ODD)


def spoilt(random, token):
    fate = random.random()
    if fate < 0.2:
        letters = list(token)
        for place in random.choices(range(len(letters)), k=2):
            letters[place] = random.choice("Aa9._-=+/!\x00é ")
        return "".join(letters)
    return token[: random.randrange(len(token))] if fate < 0.25 else token


@pytest.mark.parametrize(
    "settings", [{}, {"clients": "client", "claim_values": {"sub": ["client"]}}, {"profile": "rfc9068"}]
)
def test_the_explanation_never_contradicts_the_verdict(settings):
    """700 bent tokens: a refusal has a check that failed for its reason; of an accepted one, every check passed."""
    random, fake = Random(1), FakeIssuer(algorithm="ES256")
    with TokenValidator(Issuer(fake.url, jwks=fake.jwks(), **settings), fake.audience) as validator:
        seen = set()
        for _ in range(700):
            header, claims = {"alg": "ES256", "kid": fake.key.kid, "typ": "at+jwt"}, fake.claims("a")
            bent(random, header, HEADERS)
            bent(random, claims, CLAIMS)
            scope = random.choice([[], ["a"], ["a", "zz"]])
            report = examine_token(validator, spoilt(random, fake.sign(header, claims)), fake.clock(), scope)
            assert report.document()["verdict"] == report.verdict.replace(" ", "_")
            if report.exit_code == output.REJECTED:
                seen.add(report.error.reason)
                assert report.cause is not None, (header, report.error.reason)
            else:
                assert {step.status for step in report.record.steps} == {"passed"}
    assert len(seen) >= 9
