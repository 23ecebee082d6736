"""`_jose.jwk`, `_jose.algorithms`: which keys can verify, and which one answers.

S20: an import that raises is skipped.
"""

import logging
from types import MappingProxyType

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from vectors import minting as m
from vectors.minting import jwk, sign

from tokenguard import ConfigurationError
from tokenguard._jose import jwk as rules
from tokenguard._jose import signatures
from tokenguard._jose.algorithms import DEFAULT, FITTING, SYMMETRIC, allow_list, normalise
from tokenguard._jose.algorithms import NAMES as ALL_NAMES
from tokenguard._jose.jwk import UnusableKeyError, import_key
from tokenguard._jose.key_set import KeySetError, import_set
from tokenguard._jose.pem import import_pem
from tokenguard._jose.signatures import ALGORITHMS
from tokenguard.testing import FakeIssuer

NAMES = ["rsa", "p256", "p384", "p521", "ed"]


@pytest.mark.parametrize(
    ("name", "algorithms"),
    [
        ("rsa", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("p256", {"ES256"}),
        ("p384", {"ES384"}),
        ("p521", {"ES512"}),
        ("ed", {"EdDSA"}),
    ],
)
def test_a_key_serves_what_its_type_and_curve_can(name, algorithms):
    key = import_key(jwk(name))
    assert key.algorithms == algorithms
    for algorithm in ALGORITHMS:
        if algorithm in SYMMETRIC:
            assert not key.verifies(algorithm, b"x", b"y")
        elif algorithm in algorithms:
            good = sign(algorithm, name, b"data")
            assert key.verifies(algorithm, b"data", good)
            assert not key.verifies(algorithm, b"date", good)
            assert not key.verifies(algorithm, b"data", good[::-1])
            assert not key.verifies(algorithm, b"data", b"")
        else:
            assert not key.verifies(algorithm, b"data", b"x" * 64)


@pytest.mark.parametrize("size", [32, 48, 64])
def test_a_secret_serves_no_longer_hash(size):
    key = import_key({"kty": "oct", "k": m.b64(bytes(size))}, symmetric=True)
    assert key.algorithms == {name for name, digest in (("HS256", 32), ("HS384", 48), ("HS512", 64)) if size >= digest}
    with pytest.raises(UnusableKeyError):
        import_key({"kty": "oct", "k": m.b64(bytes(size - 1)), "alg": f"HS{size * 8}"}, symmetric=True)


def test_symmetric_and_asymmetric_keys_never_mix():
    with pytest.raises(UnusableKeyError):
        import_key(jwk("oct"))
    with pytest.raises(UnusableKeyError):
        import_key(jwk("rsa"), symmetric=True)
    with pytest.raises(KeySetError):
        import_set({"keys": [jwk("oct")]})
    with pytest.raises(KeySetError):
        import_set({"keys": [jwk("rsa")]}, symmetric=True)


@pytest.mark.parametrize(
    "change",
    [
        {"kty": ...},
        {"kty": None},
        {"kty": "EC"},
        {"kty": "oct"},
        {"kty": ["RSA"]},
        {"n": ...},
        {"n": 1},
        {"n": ""},
        {"n": "é"},
        {"n": "AA=="},
        {"e": ...},
        {"e": "AQ"},
        {"e": "AA"},
        {"e": "Ag"},
        {"e": m.number((1 << 64) + 1)},
        {"e": m.number((1 << 2047) + 1)},
        {"e": None},
        {"use": "enc"},
        {"use": ""},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"key_ops": {"verify": 1}},
        {"key_ops": [["verify"]]},
        {"alg": "ES256"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": []},
        {"alg": {}},
        {"kid": 1},
        {"kid": []},
    ],
)
def test_what_is_no_usable_rsa_key(change, caplog):
    caplog.set_level(logging.DEBUG)
    bad = jwk("rsa", **change)
    with pytest.raises(UnusableKeyError) as caught:
        import_key(bad)
    assert caught.value.__cause__ is None
    assert jwk("rsa")["n"][:20] not in str(caught.value)
    keys = import_set({"keys": [bad, jwk("p256")]})
    assert [key.kid for key in keys.keys] == ["p256"]
    assert "not usable" in caplog.text
    assert jwk("rsa")["n"][:20] not in caplog.text


@pytest.mark.parametrize(
    ("change", "algorithms"),
    [
        ({"use": "sig"}, 6),
        ({"key_ops": ["verify"]}, 6),
        ({"key_ops": ("sign", "verify")}, 6),
        ({"alg": "PS512"}, 1),
        ({"kid": ...}, 6),
        ({"kid": ""}, 6),
        ({"x": "y"}, 6),
        ({"crv": "P-256"}, 6),
        ({"x5c": 1}, 6),
        ({"e": "Aw"}, 6),
        ({"e": m.number((1 << 63) + 1)}, 6),
    ],
)
def test_what_is_a_usable_rsa_key(change, algorithms):
    key = import_key(MappingProxyType(jwk("rsa", **change)))
    assert len(key.algorithms) == algorithms
    assert key.kid == (None if change.get("kid") is ... else change.get("kid", "rsa"))


@pytest.mark.parametrize("member", ["kid", "alg", "use", "key_ops", "x5c", "crv", "d", "oth", "unheard-of"])
def test_a_null_member_reads_as_absent(member, caplog):
    plain = jwk("rsa", **{member: ...})
    [key] = import_set({"keys": [plain | {member: None}]}).keys
    assert key.identity == import_key(plain).identity
    assert caplog.text == ""


@pytest.mark.parametrize("member", ["kty", "n", "e"])
def test_a_null_member_that_a_key_needs_is_missing(member):
    with pytest.raises(UnusableKeyError):
        import_key(jwk("rsa", **{member: None}))


@pytest.mark.parametrize("bits", [1024, 2046])
def test_a_short_rsa_key(bits):
    with pytest.raises(UnusableKeyError, match="2048"):
        import_key(jwk(f"rsa{bits}"))


def test_a_huge_rsa_key_is_refused_quickly():
    with pytest.raises(UnusableKeyError):
        import_key(jwk("rsa", n=m.number((1 << 8_192) | 1)))
    with pytest.raises(UnusableKeyError):
        import_key(jwk("rsa", n=m.number((1 << 100_000) | 1)))


@pytest.mark.parametrize(
    "change",
    [
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"crv": ...},
        {"crv": None},
        {"crv": ["P-256"]},
        {"crv": 256},
        {"x": ...},
        {"y": ...},
        {"y": "AA"},
        {"y": jwk("p256")["x"]},
        {"x": m.b64(bytes(33))},
        {"kty": "OKP"},
        {"alg": "ES384"},
        {"alg": "RS256"},
    ],
)
def test_what_is_no_usable_ec_key(change):
    with pytest.raises(UnusableKeyError):
        import_key(jwk("p256", **change))


@pytest.mark.parametrize(
    "change",
    [
        {"crv": "Ed448"},
        {"crv": "X25519"},
        {"x": m.b64(bytes(31))},
        {"x": m.b64(bytes(33))},
        {"alg": "ES256"},
        {"alg": "Ed448"},
        {"kty": "EC"},
    ],
)
def test_what_is_no_usable_okp_key(change):
    with pytest.raises(UnusableKeyError):
        import_key(jwk("ed", **change))


def test_ed25519_by_either_name():
    for name in ("EdDSA", "Ed25519"):
        assert import_key(jwk("ed", alg=name)).algorithms == {"EdDSA"}


@pytest.mark.parametrize(
    "document", [None, [], "keys", {}, {"keys": None}, {"keys": {}}, {"keys": "x"}, {"keys": iter([])}]
)
def test_what_is_no_set(document):
    with pytest.raises(KeySetError, match="not_a_key_set"):
        import_set(document)


def test_a_set_needs_one_usable_key_and_has_at_most_a_thousand():
    for members in ([], [1], [{}], [jwk("rsa1024")]):
        with pytest.raises(KeySetError, match="no_usable_key"):
            import_set({"keys": members})
    assert import_set({"keys": ([{}] * 999 + [jwk("rsa")])}).kids == ("rsa",)
    with pytest.raises(KeySetError, match="too_many_keys"):
        import_set({"keys": [{}] * 1_000 + [jwk("rsa")]})


class Explosive(dict):
    def items(self):
        raise RuntimeError("boom")


def test_a_member_that_raises_is_skipped():
    keys = import_set({"keys": (jwk("rsa"), Explosive(kty="RSA"), {"kty": "RSA", "n": Explosive(), "e": "AQAB"})})
    assert keys.kids == ("rsa",)
    with pytest.raises(UnusableKeyError, match="malformed"):
        import_key(Explosive())


def test_a_kid_chooses_exactly_one_key():
    keys = import_set({"keys": [jwk(name) for name in NAMES]})
    assert keys.usual_key("rsa", "RS256").kid == "rsa"
    assert keys.usual_key("rsa", "PS512").kid == "rsa"
    assert keys.usual_key("rsa", "ES256") is None
    assert keys.usual_key("RSA", "RS256") is None
    assert keys.usual_key(None, "RS256").kid == "rsa"
    assert keys.fitting("rsa", "ES256") == []
    assert keys.fitting("nobody", "RS256") == []
    assert keys.kids == tuple(sorted(NAMES))


def test_two_keys_of_one_kid_are_both_found_and_neither_is_certain():
    keys = import_set({"keys": [jwk("rsa", kid="k"), jwk("rsa.2", kid="k"), jwk("p256", kid="k")]})
    assert keys.usual_key("k", "RS256") is None
    assert len(keys.fitting("k", "RS256")) == 2
    assert keys.usual_key("k", "ES256").material[0] == "EC"


def test_the_same_key_twice_is_one():
    keys = import_set({"keys": [jwk("rsa"), jwk("rsa"), jwk("rsa", alg="RS256"), jwk("rsa", kid="other")]})
    assert len(keys.fitting("rsa", "RS256")) == 1
    assert keys.usual_key("rsa", "RS256") is not None
    assert keys.usual_key("rsa", "PS256") is not None
    assert keys.usual_key(None, "RS256") is not None


def test_without_kid_the_first_eight_that_fit_are_tried():
    keys = import_set({"keys": [jwk("rsa"), *(jwk(f"p256.{number}") for number in range(9))]})
    assert [key.kid for key in keys.fitting(None, "ES256")] == [f"p256.{number}" for number in range(8)]
    assert [key.kid for key in keys.fitting(None, "RS256")] == ["rsa"]
    assert keys.usual_key(None, "ES256") is None
    assert import_set({"keys": [jwk("rsa", kid=...), jwk("p256")]}).kids == (None, "p256")


def test_a_refresh_keeps_the_objects_of_unchanged_keys():
    first = import_set({"keys": [jwk("rsa"), jwk("p256")]})
    assert import_set({"keys": [jwk("p256"), jwk("rsa", x="y")]}, previous=first) is first
    second = import_set({"keys": [jwk("rsa"), jwk("ed")]}, previous=first)
    assert second.usual_key("rsa", "RS256") is first.usual_key("rsa", "RS256")
    third = import_set({"keys": [jwk("rsa.2", kid="rsa")]}, previous=second)
    assert third.usual_key("rsa", "RS256") is not first.usual_key("rsa", "RS256")
    bound = import_set({"keys": [jwk("rsa", alg="RS256")]}, previous=first)
    assert bound.usual_key("rsa", "RS256") is not first.usual_key("rsa", "RS256")


def test_private_members_are_reported_and_not_read(caplog):
    numbers = m.private("rsa").private_numbers()
    whole = jwk("rsa", d=m.number(numbers.d), p=m.number(numbers.p), q=m.number(numbers.q), kid="k\r\n" * 100)
    key = import_set({"keys": [whole]}).usual_key(None, "RS256")
    assert "publishes private members" in caplog.text
    assert whole["d"][:20] not in caplog.text + repr(key)
    assert "\r" not in caplog.text
    assert not hasattr(key._public, "private_numbers")


def test_a_key_shows_its_kid_and_type_only():
    assert repr(import_key(jwk("rsa"))) == "Key(kid='rsa', kty='RSA')"


def test_a_library_that_answers_anything_but_true_has_refused(monkeypatch):
    key = import_key({"kty": "oct", "k": m.b64(bytes(32))}, symmetric=True)
    for answer in (1, "yes", None, False):
        monkeypatch.setattr(type(ALGORITHMS["HS256"]), "verify", lambda *_, answer=answer: answer)
        assert key.verifies("HS256", b"x", b"y") is False

    def explode(*_):
        raise MemoryError("token text")

    monkeypatch.setattr(type(ALGORITHMS["HS256"]), "verify", explode)
    assert key.verifies("HS256", b"x", b"y") is False


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=6),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["kty", "crv", "n", "e", "x", "y", "k", "kid", "use", "alg", "key_ops", "d", "RSA"]),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_key_or_none(value):
    for symmetric in (True, False):
        try:
            assert import_key(value, symmetric=symmetric).algorithms
        except UnusableKeyError as error:
            assert error.args  # noqa: PT017 - either way is fine, nothing else is
        try:
            assert import_set({"keys": [value, value]}, symmetric=symmetric).keys
        except KeySetError as error:
            assert error.args  # noqa: PT017


def test_the_default_list_has_every_asymmetric_algorithm_and_no_other():
    assert set(DEFAULT) == {f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)} | {"EdDSA"}
    assert set().union(*FITTING.values()) == set(ALGORITHMS) == set(ALL_NAMES)
    assert normalise("Ed25519") == "EdDSA"
    assert normalise("ed25519") == "ed25519"
    assert rules.kind(("HS256",)) == "symmetric"
    assert rules.kind(("RS256",)) == "asymmetric"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("RS256", ("RS256",)),
        (["ES256", "RS256"], ("ES256", "RS256")),
        (("Ed25519", "EdDSA"), ("EdDSA",)),
        (dict.fromkeys(["RS256"]).keys(), ("RS256",)),
        (["HS256", "HS512"], ("HS256", "HS512")),
        (["RS256", "RS256"], ("RS256",)),
    ],
)
def test_an_allow_list(names, expected):
    assert allow_list(names) == expected


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "at least one"),
        ((), "at least one"),
        (None, "must be a list"),
        (5, "must be a list"),
        ([None], "must be among"),
        ([["RS256"]], "must be among"),
        ("", "must be among"),
        ("rs256", "must be among"),
        ("RS256 ES256", "must be among"),
        (["RS256", "none"], "unsigned"),
        (["NONE "], "unsigned"),
        (["None"], "unsigned"),
        (["Ed448"], "must be among"),
        (["ES256K"], "must be among"),
        (["HS256", "RS256"], "must not mix"),
        ([b"RS256"], "must be among"),
    ],
)
def test_what_is_no_allow_list(names, says):
    with pytest.raises(ConfigurationError, match=says):
        allow_list(names)


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"])
def test_prewarming_reaches_the_library_and_proves_nothing(alg, monkeypatch):
    seen = []
    bind = signatures.verifier
    octets = {"RS256": 256, "PS256": 256, "ES256": 64, "ES384": 96, "ES512": 132, "EdDSA": 64}[alg]

    def watched(alg, public):
        verify = bind(alg, public)

        def holds(signature, signed):
            assert len(signature) == octets
            with pytest.raises(InvalidSignature) as caught:
                verify(signature, signed)
            seen.append(alg)
            raise caught.value

        return holds

    monkeypatch.setattr(signatures, "verifier", watched)
    import_key(FakeIssuer(algorithm=alg).key.jwk()).prewarm(alg)
    assert seen == [alg]


def test_a_secret_is_prewarmed_too(monkeypatch):
    seen = []
    bind = signatures.verifier

    def watched(alg, public):
        verify = bind(alg, public)
        return lambda signature, signed: seen.append((alg, verify(signature, signed)))

    monkeypatch.setattr(signatures, "verifier", watched)
    import_key({"kty": "oct", "k": "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE"}, symmetric=True).prewarm("HS256")
    assert seen == [("HS256", False)]


UNUSABLE = [
    ("text", "it is not a JSON object"),
    (jwk("rsa", kid=1), "its kid is not a string"),
    (jwk("rsa", kty="XYZ"), "its kty is unknown"),
    ({"kty": "oct", "k": "AAAA"}, "symmetric and asymmetric keys do not mix, and a symmetric key is never fetched"),
    (jwk("p256", crv="P-192"), "its crv is not supported"),
    (jwk("rsa", use="enc"), "its use is not sig"),
    (jwk("rsa", key_ops=["sign"]), "its key_ops do not allow verify"),
    (jwk("rsa", alg="ES256"), "its alg does not fit its type and curve, or is not supported"),
    (jwk("rsa", n=m.number(2**2046 + 1)), "an RSA key must have 2048 to 8192 bits and an exponent of at most 64"),
    (jwk("rsa", n="="), "its key material is malformed"),
]


@pytest.mark.parametrize(("bad", "says"), UNUSABLE, ids=[says.split()[1] for _, says in UNUSABLE])
def test_a_key_that_is_skipped_is_named_with_what_is_wrong(bad, says, caplog):
    """The texts are what an operator searches for, so they are held word by word."""
    caplog.set_level(logging.INFO, logger="tokenguard.keys")
    with pytest.raises(UnusableKeyError) as caught:
        import_key(bad)
    assert str(caught.value) == says
    assert import_set({"keys": [jwk("p256"), bad]}).kids == ("p256",)
    kid = bad.get("kid") if isinstance(bad, dict) else None
    assert caplog.messages == [f"the key set has keys that are not usable: key 1 (kid {kid!r}): {says}"]


def test_one_line_names_the_first_few_of_many(caplog):
    caplog.set_level(logging.INFO, logger="tokenguard.keys")
    import_set({"keys": [jwk("p256"), *[{"kid": "\n" * 999}] * 900]})
    import_set({"keys": [jwk("rsa", kid=str(number), d="AQAB") for number in range(9)]})
    skipped, leaked = caplog.messages
    assert skipped.count("its kty is unknown; ") == 8
    assert skipped.endswith("; and 892 more")
    assert "\n" not in skipped
    assert len(skipped) < 1_000
    assert leaked == (
        "the key set publishes private members of '0'; '1'; '2'; '3'; '4'; '5'; '6'; '7'; and 1 more: the issuer must"
        " replace them now"
    )


def test_eight_keys_are_all_named(caplog):
    import_set({"keys": [jwk("rsa", kid=str(number), d="AQAB") for number in range(8)]})
    assert "'7': the issuer" in caplog.text


def test_a_broken_log_takes_no_set_down(monkeypatch):
    def broken(_):
        raise OSError

    monkeypatch.setattr(logging.getLogger("tokenguard.keys"), "handle", broken)
    assert import_set({"keys": [jwk("rsa", d="AQAB"), "text"]}).kids == ("rsa",)


def test_a_secret_that_is_skipped_says_why():
    with pytest.raises(UnusableKeyError) as caught:
        import_key({"kty": "oct", "k": "AAAA"}, symmetric=True)
    assert str(caught.value) == "its secret is shorter than the hash (RFC 7518 section 3.2)"


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"keys": {}}, "not_a_key_set"),
        ({"keys": [{}] * 1_001}, "too_many_keys"),
        ({"keys": [{}]}, "no_usable_key"),
    ],
)
def test_what_is_wrong_with_a_set_is_one_word(document, word):
    with pytest.raises(KeySetError) as caught:
        import_set(document)
    assert str(caught.value) == word


def test_private_members_are_told_of_by_kid(caplog):
    import_set({"keys": [jwk("rsa", d="AQAB")]})
    assert caplog.messages == ["the key set publishes private members of 'rsa': the issuer must replace them now"]


def test_many_keys_of_one_kid_all_fit():
    """Only without a kid are there more than one to try, and no more than eight."""
    keys = [jwk("rsa", kid="same", e=m.number(exponent)) for exponent in range(65537, 65537 + 40, 4)]
    found = import_set({"keys": keys})
    assert len(found.fitting("same", "RS256")) == 10
    assert len(found.fitting(None, "RS256")) == 8


@pytest.mark.parametrize(("bits", "good"), [(2047, False), (2048, True), (8_192, True), (8_193, False)])
def test_how_long_an_rsa_key_may_be(bits, good):
    long = jwk("rsa", n=m.number(2 ** (bits - 1) + 1))
    if good:
        assert import_key(long).algorithms
    else:
        with pytest.raises(UnusableKeyError):
            import_key(long)


# -- PEM ---------------------------------------------------------------------------------------------------------------


def pem(name, **settings):
    key = m.private(name) if isinstance(name, str) else name
    form = {"encoding": Encoding.PEM, "format": PublicFormat.SubjectPublicKeyInfo} | settings
    return key.public_key().public_bytes(**form)


@pytest.mark.parametrize("name", NAMES)
def test_a_pem_key_serves_what_the_same_jwk_does_under_any_kid(name):
    keys = import_pem([pem(name)])
    [key] = keys.keys
    same = import_key(jwk(name, kid=...))
    assert key.identity == same.identity
    for alg in same.algorithms:
        assert {keys.usual_key(kid, alg) for kid in (None, "a", "b")} == {key}
        assert keys.fitting("a", alg) == [key]
        assert key.verifies(alg, b"x", sign(alg, name, b"x"))


def test_several_pem_keys_are_all_tried_and_the_same_one_counts_once():
    keys = import_pem([pem("p256"), pem("p256").decode(), pem("p256.2"), pem("rsa", format=PublicFormat.PKCS1)])
    assert len(keys.keys) == 3
    assert len(keys.fitting("k", "ES256")) == 2
    assert keys.usual_key("k", "ES256") is None
    assert keys.usual_key("k", "RS256") is not None


def test_more_pem_keys_of_one_kind_than_a_token_is_tried_with():
    texts = [pem(f"p256.{number}") for number in range(9)]
    assert len(import_pem([*texts[:8], pem("ed")]).fitting("k", "ES256")) == 8
    with pytest.raises(UnusableKeyError, match="more than 8 of one kind"):
        import_pem(texts)


PRIVATE = m.private("rsa").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
EC_PRIVATE = m.private("p256").private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PRIVATE, "openssl pkey -pubout"),
        (EC_PRIVATE, "openssl pkey -pubout"),
        (pem("p256") + pem("p256.2"), "several"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "openssl x509 -pubkey"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "damaged"),
        (pem("p256")[:60], "damaged"),
        ("a shared secret", "no PEM public key"),
        (b"\xff" + pem("p256"), "no PEM public key"),
        ("é" + pem("p256").decode(), "no PEM public key"),
        ("", "no PEM public key"),
        (pem("rsa1024"), "2048 to 8192"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "another kind|crv is not supported|malformed"),
        (pem(ed448.Ed448PrivateKey.generate()), "another kind|crv is not"),
        (pem(x25519.X25519PrivateKey.generate()), "another kind|crv is not"),
        (pem(dsa.generate_private_key(1024)), "another kind"),
    ],
)
def test_what_is_no_usable_pem_key(text, says):
    with pytest.raises(UnusableKeyError, match=says) as caught:
        import_pem([text])
    assert caught.value.__cause__ is None
    assert "AAAA" not in str(caught.value)
