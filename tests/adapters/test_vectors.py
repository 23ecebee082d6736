"""Every vector of tests/vectors through every adapter of HTTP; what each vector means stands there.

S23: the same answer from all adapters. S22: the challenge of every rejection is one legal Bearer challenge.
"""

import asyncio
import json
from functools import cache
from pathlib import Path

import pytest
from observed_validators import WAYS
from pybase64 import b64decode
from raw_requests import challenge
from vector_runs import FILES, Protected, build, fields_of
from vectors import generate, minting

from tokenguard import AccessToken, RejectedError, UnavailableError
from tokenguard._jose import base64url, jws

VECTORS = [(name, vector) for name, file in FILES.items() for vector in file["vectors"]]


@cache
def protected(file, name):
    return Protected(FILES[file]["settings"][name])


def core(call):
    """What `validate` says: None, a reason, or `unavailable`."""
    try:
        token = call()
    except RejectedError as error:
        quiet = error.__cause__ is None and (error.__suppress_context__ or error.__context__ is None)
        return error.reason.value if quiet else "it shows where it came from"
    except UnavailableError:
        return "unavailable"
    assert isinstance(token, AccessToken)
    return None


def test_there_are_enough_and_each_states_what_it_is():
    vectors = [vector for _, vector in VECTORS]
    assert len(vectors) >= 400
    assert sum(vector["status"] == 200 for vector in vectors) * 4 >= len(vectors)
    assert len({vector["id"] for vector in vectors}) == len(vectors)
    assert all(vector["mechanism"] and vector["source"] and vector["threat"] for vector in vectors)


def test_they_are_what_the_generator_writes():
    written = generate.texts()
    assert written == {name: (Path(generate.__file__).parent / name).read_text() for name in written}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", ["pybase64", "binascii"])
def test_every_way_to_decode_gives_the_same_verdicts(monkeypatch, way, name):
    prepare, decode = base64url.BY_BINASCII if way == "binascii" else base64url.by_pybase64(b64decode)
    for module in (base64url, jws):
        monkeypatch.setattr(module, "prepare", prepare)
        monkeypatch.setattr(module, "decode_prepared", decode)
    file = FILES[name]
    validators = {settings: build(file["settings"][settings]) for settings in file["settings"]}
    for vector in file["vectors"]:
        if "token" in vector:
            scope, validator = file["settings"][vector["settings"]]["scope"].split(), validators[vector["settings"]]
            found = core(lambda: validator.validate(vector["token"], scope=scope))  # noqa: B023  # called at once
            assert found == vector["verdict"], vector["id"]


@pytest.mark.parametrize(("file", "vector"), VECTORS, ids=[vector["id"] for _, vector in VECTORS])
def test_vector(file, vector):
    api = protected(file, vector["settings"])
    if "token" in vector:
        raw = vector["token"]
        for _ in range(2):  # the second time where it may be remembered
            assert core(lambda: api.validator.validate(raw, scope=api.scope)) == vector["verdict"]
            assert core(lambda: asyncio.run(api.validator.validate_async(raw, scope=api.scope))) == vector["verdict"]
    if vector["status"] is None:
        return
    rejections = set()
    for name, column in api.columns.items():
        answer = column.ask("GET", vector.get("query", ""), fields_of(vector))
        if vector["status"] == 200:
            assert answer.status == column.accepted, name
            continue
        assert answer.status == vector["status"], name
        rejections.add(answer.verdict)
        body = json.loads(answer.body)
        assert body.get("error") == vector["error"]
        assert body.get("reason") == vector["reason"]
        if answer.status == 503:
            assert answer.header("www-authenticate") is None
            assert int(answer.header("retry-after")) >= 1
        else:
            parameters = challenge(answer.header("www-authenticate"))
            assert parameters["realm"] == "vectors"
            assert parameters.get("error") == vector["error"]
    assert len(rejections) <= 1


@pytest.mark.parametrize("way", [way for way in WAYS if way != "unwatched"])
def test_requests_are_answered_the_same_whatever_the_validator_is(way):
    file = FILES["requests.json"]
    api = Protected(file["settings"]["default"], way)
    for vector in file["vectors"]:
        for name, column in api.columns.items():
            answer = column.ask("GET", vector.get("query", ""), fields_of(vector))
            if vector["status"] == 200:
                assert answer.status == column.accepted, (vector["id"], name)
            else:
                assert answer.status == vector["status"], (vector["id"], name)
                assert json.loads(answer.body).get("reason") == vector["reason"], (vector["id"], name)


@pytest.mark.parametrize(
    "name", ["X-Forwarded-Client-Cert", "X-SSL-Client-Cert", "X-Client-Cert", "Client-Cert", "DPoP"]
)
def test_s21_a_proof_that_only_a_header_claims_proves_nothing(name):
    """S21: no header makes a bound token a bearer token, sent once or twice, nor does one that Connection strips."""
    bound = minting.token(payload={"cnf": {"x5t#S256": minting.b64(bytes(32))}})
    for column in protected("signatures.json", "default").columns.values():
        for more in (
            [(name, "MIIB")],
            [(name, "MIIB"), (name, "MIIC")],
            [(name, "MIIB"), ("Connection", f"close, {name}")],
        ):
            answer = column.ask("GET", "", [("Authorization", f"Bearer {bound}"), *more])
            assert answer.status == 401
            assert json.loads(answer.body)["reason"] == "confirmation"
            assert column.ask("GET", "", more).status == 401
