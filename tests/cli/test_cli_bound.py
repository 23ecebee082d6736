"""`tokenguard check` and `doctor` on bound tokens."""

from __future__ import annotations

from base64 import b64encode

import pytest
from commands import run

from tokenguard.testing import ABSENT, FakeIssuer
from tokenguard.testing.client_key import confirmation

BASE = "https://api.example.com"
URL = f"{BASE}/orders"
DER = bytes(range(48, 148))
PEM = f"-----BEGIN CERTIFICATE-----\n{b64encode(DER).decode()}\n-----END CERTIFICATE-----\n"
SECRET = "s" * 32


@pytest.fixture(scope="module")
def fake():
    issuer = FakeIssuer()
    with issuer.serve():
        yield issuer


def check(fake, token, *arguments, **settings):
    common = ("-i", fake.url, "-a", fake.audience, "--allow-insecure-http", "--json")
    return run("check", *common, *arguments, token=token, **settings)


def cause(ran):
    report = ran.json
    return report["verdict"], report["reason"], report["cause"]


def test_the_whole_field_is_taken(fake):
    key = fake.client_key()
    token = fake.mint(bound_to=key)
    ran = check(fake, f"Authorization: DPoP {token}", "--proof", key.proof(token, "GET", URL), "--url", URL)
    assert cause(ran) == ("accepted", None, None)


def test_a_good_proof(fake):
    key = fake.client_key()
    token = fake.mint(bound_to=key)
    proof = key.proof(token, "POST", URL)
    for _ in range(2):  # it is not used up
        ran = check(fake, token, "--proof", proof, "--method", "POST", "--url", URL)
        assert cause(ran) == ("accepted", None, None)
        assert {one["status"] for one in ran.json["checks"]} == {"passed"}
        assert "proof signature" in [one["name"] for one in ran.json["checks"]]
        assert proof not in ran.out


@pytest.mark.parametrize(
    ("changes", "reason", "named"),
    [
        ({"htm": "GET"}, "proof_target", "proof target"),
        ({"htu": f"{BASE}/other"}, "proof_target", "proof target"),
        ({"ath": "x"}, "proof_target", "proof target"),
        ({"iat": 1}, "proof_time", "proof time"),
        ({"iat": 10**12}, "proof_time", "proof time"),
        ({"exp": 1}, "proof_time", "proof time"),
        ({"nbf": 10**12}, "proof_time", "proof time"),
        ({"jti": ABSENT}, "proof", "proof claims"),
        ({"header": {"typ": "JWT"}}, "proof", "proof"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_proof_is_named(fake, changes, reason, named):
    key = fake.client_key()
    token = fake.mint(bound_to=key)
    ran = check(fake, token, "--proof", key.proof(token, "POST", URL, **changes), "--method", "POST", "--url", URL)
    assert cause(ran) == ("rejected", reason, named)
    assert ran.code == 1


def test_other_causes(fake):
    key, other = fake.client_key(), fake.client_key()
    token = fake.mint(bound_to=key)
    ran = check(fake, token, "--proof", other.proof(token, "GET", URL), "--url", URL)
    assert cause(ran) == ("rejected", "confirmation", "proof key")
    broken = key.proof(token, "GET", URL)[:-8] + "AAAAAAAA"
    assert cause(check(fake, token, "--proof", broken, "--url", URL)) == ("rejected", "proof", "proof signature")
    unbound = fake.mint()
    ran = check(fake, unbound, "--proof", key.proof(unbound, "GET", URL), "--url", URL)
    assert cause(ran) == ("rejected", "confirmation", "scheme")
    assert cause(check(fake, token)) == ("rejected", "confirmation", "confirmation")
    with_base = {"TOKENGUARD_DPOP_BASE_URL": BASE}
    assert cause(check(fake, token, environment=with_base)) == ("rejected", "confirmation", "scheme")
    ran = check(fake, token, "--proof", key.proof(token, "GET", URL), "--url", "/orders", environment=with_base)
    assert cause(ran) == ("accepted", None, None)
    required = {**with_base, "TOKENGUARD_DPOP_REQUIRED": "true"}
    ran = check(fake, unbound, environment=required)
    assert cause(ran) == ("rejected", "confirmation", "confirmation")
    ran = check(fake, token, "--proof", "x", "--url", "/orders")
    assert ran.code == 2


def test_a_nonce_is_explained(fake):
    from tokenguard._oauth.dpop_nonce import make

    key = fake.client_key()
    token = fake.mint(bound_to=key)
    settings = {"TOKENGUARD_DPOP_BASE_URL": BASE, "TOKENGUARD_DPOP_NONCE_SECRET": SECRET}
    now = fake.clock()
    for nonce, named in (
        (make(SECRET.encode(), now), None),
        (make(SECRET.encode(), now - 1_000), "nonce"),
        (make(SECRET.encode(), now + 1_000), "nonce"),
        ("x", "nonce"),
    ):
        ran = check(
            fake, token, "--proof", key.proof(token, "GET", URL, nonce=nonce), "--url", "/orders", environment=settings
        )
        assert ran.json["cause"] == named


def test_a_nonce_secret_in_a_file(fake, tmp_path):
    from tokenguard._oauth.dpop_nonce import make

    path = tmp_path / "secret"
    path.write_text(SECRET)
    key = fake.client_key()
    token = fake.mint(bound_to=key)
    settings = {"TOKENGUARD_DPOP_BASE_URL": BASE, "TOKENGUARD_DPOP_NONCE_SECRET_FILE": str(path)}
    proof = key.proof(token, "GET", URL, nonce=make(SECRET.encode(), fake.clock()))
    assert check(fake, token, "--proof", proof, "--url", "/orders", environment=settings).json["cause"] is None


def test_a_certificate_is_explained(fake, tmp_path):
    good, der, other, none = (tmp_path / name for name in ("good.pem", "good.der", "other.pem", "none.pem"))
    good.write_text(PEM)
    der.write_bytes(DER)
    other.write_text(PEM.replace("MDEyM", "MDEyN"))
    none.write_text("-----BEGIN X-----")
    token = fake.mint(bound_to=DER)
    for path in (good, der):
        ran = check(fake, token, "--certificate", str(path))
        assert cause(ran) == ("accepted", None, None)
        assert "certificate" in [one["name"] for one in ran.json["checks"]]
    assert cause(check(fake, token, "--certificate", str(other))) == ("rejected", "confirmation", "certificate")
    assert check(fake, token, "--certificate", str(none)).code == 2
    assert check(fake, token, "--certificate", str(tmp_path / "absent")).code == 2
    assert cause(check(fake, fake.mint(), "--certificate", str(good))) == ("accepted", None, None)
    ran = check(fake, token, environment={"TOKENGUARD_MTLS_REQUIRED": "true"})
    assert cause(ran) == ("rejected", "confirmation", "certificate")
    key = fake.client_key()
    both = fake.mint(cnf=confirmation(key, DER))
    ran = check(fake, both, "--certificate", str(good), "--proof", key.proof(both, "GET", URL), "--url", URL)
    assert cause(ran) == ("accepted", None, None)


def test_doctor_says_what_is_on(fake):
    def areas(**settings):
        environment = {f"TOKENGUARD_{name}": value for name, value in settings.items()}
        ran = run("doctor", "-i", fake.url, "-a", "x", "--allow-insecure-http", "--json", environment=environment)
        found = [one for one in ran.json["findings"] if one["area"] in ("dpop", "mtls")]
        return [(one["status"], one["finding"]) for one in found]

    assert areas() == []
    found = areas(DPOP_BASE_URL=BASE)
    assert found[0] == ("ok", f"DPoP for bound tokens, called as {BASE}, proofs of 60 s, nonces off")
    assert found[1][0] == "note"
    found = areas(
        DPOP_BASE_URL=f"{BASE} https://b.example",
        DPOP_REQUIRED="true",
        DPOP_NONCE_SECRET=SECRET,
        REDIS_URL="redis://localhost",
        MTLS_REQUIRED="true",
    )
    assert found == [
        ("ok", f"DPoP for every token, called as {BASE} or https://b.example, nonces on"),
        ("ok", "certificates for every token, from the connection"),
    ]
    found = areas(MTLS_HEADER="X-Client-Cert", MTLS_FORMAT="pem", MTLS_TRUSTED="unix")
    assert [status for status, _ in found] == ["ok", "warning"]
    assert "X-Client-Cert (pem)" in found[0][1]
