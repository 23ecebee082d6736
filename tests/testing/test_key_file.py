"""Signing keys of the development issuer in a file."""

import json
import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tokenguard.testing import FakeIssuer
from tokenguard.testing.key_file import KeyFileError, keys_in
from tokenguard.testing.signing_keys import ALGORITHMS, SYMMETRIC, SigningKey, named_key


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


def write(path, *jwks):
    path.write_text(json.dumps({"keys": list(jwks)}))
    path.chmod(0o600)


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name not in SYMMETRIC])
def test_keys_are_made_once_and_read_again(path, algorithm):
    [made] = keys_in(path, algorithm)
    before = path.read_bytes()
    [read] = keys_in(path, None)
    assert (read.kid, read.algorithm, read.jwk()) == (made.kid, algorithm, made.jwk())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == before
    issuer = FakeIssuer()
    issuer.sign_with([read])
    assert issuer.validator().validate(issuer.mint())


def test_the_mode_does_not_depend_on_the_umask(path):
    kept = os.umask(0)
    try:
        assert keys_in(path, None)[0].algorithm == "RS256"
    finally:
        os.umask(kept)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_first_key_signs_and_all_are_published(path):
    first, second = named_key("ES256"), named_key("EdDSA")
    write(path, first.private_jwk(), second.private_jwk())
    issuer = FakeIssuer()
    issuer.sign_with(keys_in(path, "ES256"))
    assert issuer.key.kid == first.kid
    assert [key["kid"] for key in issuer.jwks()["keys"]] == [first.kid, second.kid]


def test_another_algorithm_is_no_reason_to_make_another_key(path):
    keys_in(path, "ES256")
    with pytest.raises(KeyFileError, match="a key for ES256: leave --algorithm out"):
        keys_in(path, "RS256")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_not_used(path, mode):
    keys_in(path, None)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        keys_in(path, None)


def changed(**members):
    return {**named_key("ES256").private_jwk(), **members}


WHOLE = named_key("ES256")
SMALL = SigningKey("small", "RS256", rsa.generate_private_key(public_exponent=65537, key_size=1024))


@pytest.mark.parametrize(
    "jwks",
    [
        [],
        ["x"],
        [{}],
        [changed(kid=None)],
        [changed(alg=None)],
        [changed(alg="HS256")],
        [changed(alg="none")],
        [changed(alg="ES384")],
        [changed(alg="RS256")],
        [changed(x="AA")],
        [WHOLE.jwk()],
        [WHOLE.private_jwk(), WHOLE.private_jwk()],
        [{"kty": "oct", "k": "c2VjcmV0", "kid": "1", "alg": "HS256"}],
        [{**named_key("RS256").private_jwk(), "alg": "ES256"}],
        [SMALL.private_jwk()],
    ],
)
def test_what_holds_no_keys(path, jwks):
    write(path, *jwks)
    with pytest.raises(KeyFileError, match="holds no signing keys"):
        keys_in(path, None)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": {}}', '{"keys": [], "keys": []}', "\xff"])
def test_what_is_no_key_set(path, text):
    path.write_text(text, "latin-1")
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="holds no signing keys"):
        keys_in(path, None)


def test_places_where_no_file_can_be(tmp_path):
    with pytest.raises(KeyFileError, match="is no file"):
        keys_in(tmp_path, None)
    with pytest.raises(KeyFileError, match="cannot be written"):
        keys_in(tmp_path / "absent" / "keys", None)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyFileError, match="is no file"):
        keys_in(tmp_path / "pipe", None)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(KeyFileError, match="cannot be read"):
        keys_in(tmp_path / "loop", None)


@pytest.mark.parametrize("algorithm", ["HS256", "none", ""])
def test_only_key_pairs_have_names(algorithm):
    with pytest.raises(ValueError, match="asymmetric"):
        named_key(algorithm)
