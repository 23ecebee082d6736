"""An `AccessToken` in its holder's hands: claims are JSON as they stand, read-only, and survive what copies them."""

import copy
import dataclasses
import json
import pickle
import random
from typing import Any

import flask
import pydantic
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tokenguard import AccessToken, DPoP, Introspection, Issuer, MutualTLS, ResourceMetadata
from tokenguard.client import IssuedToken
from tokenguard.request import ResourceRequest
from tokenguard.testing import FakeIssuer

NESTED = {"teams": [{"name": "blue", "ids": [3, 1, 2]}, []], "realm": {"roles": ["b", "a"], "empty": {}}}


@pytest.fixture(params=["a JWT", "an opaque token", "made by a test"])
def token(request):
    if request.param == "made by a test":
        return AccessToken(issuer="https://auth.example.com/", scopes=frozenset({"a", "b"}), claims=NESTED)
    issuer = FakeIssuer()
    if request.param == "a JWT":
        return issuer.validator().validate(issuer.mint("a b", **NESTED))
    validator = issuer.validator(issuer.as_issuer(introspection=issuer.introspection()))
    return validator.validate(issuer.mint_opaque("a b", **NESTED))


@pytest.fixture
def sent(token):
    """The claims, in plain dicts and lists."""
    return json.loads(json.dumps(token.claims))


def test_claims_are_json_as_they_stand(token, sent):
    assert sent == token.claims
    assert {name: sent[name] for name in NESTED} == NESTED
    assert json.loads(json.JSONEncoder(sort_keys=True, indent=1).encode(token.claims["teams"])) == NESTED["teams"]


def test_flask_takes_claims_as_they_stand(token, sent):
    app = flask.Flask(__name__)
    app.add_url_rule("/jsonify", view_func=lambda: flask.jsonify(token.claims), endpoint="jsonify")
    app.add_url_rule("/part", view_func=lambda: flask.jsonify(claims=token.claims["realm"]), endpoint="part")
    app.add_url_rule("/returned", view_func=lambda: token.claims, endpoint="returned")
    client = app.test_client()
    assert client.get("/jsonify").json == client.get("/returned").json == sent
    assert client.get("/part").json == {"claims": NESTED["realm"]}


class Answer(pydantic.BaseModel):
    claims: dict[str, Any]
    teams: list[dict[str, Any] | list[Any]]


def test_fastapi_takes_claims_as_they_stand(token, sent):
    app = FastAPI()
    for path, annotation in (("/any", Any), ("/dict", dict[str, Any]), ("/none", None)):
        app.get(path, response_model=annotation)(lambda: token.claims)
    app.get("/model")(lambda: Answer(claims=token.claims, teams=token.claims["teams"]))
    app.get("/filtered", response_model=Answer)(lambda: {"claims": token.claims, "teams": token.claims["teams"]})
    app.get("/token")(lambda: token)
    with TestClient(app) as client:
        assert [client.get(path).json() for path in ("/any", "/dict", "/none")] == [sent] * 3
        for path in ("/model", "/filtered"):
            assert client.get(path).json() == {"claims": sent, "teams": NESTED["teams"]}
        assert client.get("/token").json()["claims"] == sent


def test_pydantic_takes_claims_as_they_stand(token, sent):
    strict = pydantic.ConfigDict(strict=True)
    assert pydantic.TypeAdapter(Any).dump_python(token.claims, mode="json") == sent
    assert json.loads(pydantic.TypeAdapter(dict[str, Any], config=strict).dump_json(token.claims)) == sent
    assert Answer.model_validate({"claims": token.claims, "teams": token.claims["teams"]}, strict=True).claims == sent


def lists(value):
    return value["teams"], value["teams"][0]["ids"], value["realm"]["roles"]


def objects(value):
    return value, value["teams"][0], value["realm"], value["realm"]["empty"]


def or_assign(value):
    value |= {"x": 1}


def add_assign(value):
    value += ["x"]


def times_assign(value):
    value *= 2


def delete(value):
    del value[next(iter(value), "x")]


def delete_slice(value):
    del value[:]


def assign_slice(value):
    value[0:1] = ["x", "y"]


OBJECT_CHANGES = {
    "assignment": lambda value: value.__setitem__("x", 1),
    "del": delete,
    "|=": or_assign,
    "clear": lambda value: value.clear(),
    "pop": lambda value: value.pop("x", None),
    "popitem": lambda value: value.popitem(),
    "setdefault": lambda value: value.setdefault("x", 1),
    "setdefault of a member": lambda value: value.setdefault(next(iter(value), "x")),
    "update": lambda value: value.update({"x": 1}),
    "update by name": lambda value: value.update(x=1),
    "update by nothing": lambda value: value.update(),
    "attribute": lambda value: setattr(value, "x", 1),
}
LIST_CHANGES = {
    "assignment": lambda value: value.__setitem__(0, "x"),
    "assignment to a slice": assign_slice,
    "del": lambda value: value.__delitem__(0),
    "del of a slice": delete_slice,
    "+=": add_assign,
    "*=": times_assign,
    "append": lambda value: value.append("x"),
    "clear": lambda value: value.clear(),
    "extend": lambda value: value.extend(["x"]),
    "insert": lambda value: value.insert(0, "x"),
    "pop": lambda value: value.pop(),
    "remove": lambda value: value.remove(value[0]),
    "reverse": lambda value: value.reverse(),
    "sort": lambda value: value.sort(key=str),
    "shuffle": random.shuffle,
    "attribute": lambda value: setattr(value, "x", 1),
}


@pytest.mark.parametrize(
    ("of", "change"),
    [pytest.param(objects, change, id=f"object: {name}") for name, change in OBJECT_CHANGES.items()]
    + [pytest.param(lists, change, id=f"list: {name}") for name, change in LIST_CHANGES.items()],
)
def test_no_method_changes_claims_at_any_depth(token, sent, of, change):
    for value in of(token.claims):
        with pytest.raises((TypeError, AttributeError)):
            change(value)
    assert token.claims == sent


def test_every_method_that_changes_a_dict_or_list_is_refused():
    """Whatever a later Python adds: what it does to a plain one it must not do here."""
    plain = {dict: {"a": 1, "b": 2}, list: [2, 1, 3]}
    arguments = [(), (1,), ("a",), ([9],), ({"c": 3},), ("a", 1), (0, 1), (slice(0, 1),), (slice(0, 1), [])]
    ours = AccessToken(issuer="x", claims={"object": plain[dict], "list": plain[list]}).claims
    for kind, name in ((dict, "object"), (list, "list")):
        changing = set()
        for method in dir(kind):
            for given in arguments:
                value = copy.copy(plain[kind])
                try:
                    getattr(value, method)(*given)
                except Exception:  # noqa: BLE001 - no call of this method
                    continue
                if value != plain[kind]:
                    changing.add(method)
        for method in changing - {"__init__"}:
            with pytest.raises(TypeError):
                getattr(ours[name], method)()
        ours[name].__init__([])
        assert ours[name] == plain[kind]
        assert len(changing) > 6


def test_what_a_method_makes_of_claims_is_ones_own(token, sent):
    copied, joined, spread = token.claims.copy(), token.claims | {"x": 1}, {**token.claims}
    some, more = token.claims["teams"][:1], token.claims["teams"] + ["x"]
    copied["x"] = joined["y"] = spread["z"] = 1
    some.append("x"), more.append("y")
    assert token.claims == sent


def same(one, other):
    return all(getattr(one, field.name) == getattr(other, field.name) for field in dataclasses.fields(AccessToken))


WAYS = {
    **{f"pickle {n}": lambda token, n=n: pickle.loads(pickle.dumps(token, n)) for n in range(6)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "replace": dataclasses.replace,
    "replace a field": lambda token: dataclasses.replace(token, subject=token.subject),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_token_survives_what_copies_it(token, sent, way):
    made = WAYS[way](token)
    assert type(made) is AccessToken
    assert same(made, token)
    assert (made == token, made != token, token == token) == (False, True, True)  # noqa: PLR0124 - by identity
    for change in (lambda: made.claims.update(x=1), lambda: made.claims["teams"].append(1)):
        with pytest.raises(TypeError):
            change()
    assert json.loads(json.dumps(made.claims)) == sent


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_claims_alone_survive_what_copies_them(token, sent, way):
    made = way(token.claims)
    assert made == sent
    with pytest.raises(TypeError):
        made["realm"]["x"] = 1


@pytest.mark.parametrize("name", ["subject", "claims", "no_field"])
def test_no_attribute_is_set_or_deleted(token, name):
    with pytest.raises(dataclasses.FrozenInstanceError, match=name):
        setattr(token, name, None)
    with pytest.raises(dataclasses.FrozenInstanceError, match=name):
        delattr(token, name)


@pytest.mark.parametrize(
    "held",
    [
        Issuer("https://issuer.example"),
        Introspection("a", "b"),
        DPoP("https://api.example.com"),
        MutualTLS(),
        ResourceMetadata("https://api.example.com"),
        ResourceRequest("GET", "/"),
        IssuedToken("t", "Bearer", "Bearer t", frozenset(), 1.0, "https://issuer.example"),
    ],
    ids=lambda held: type(held).__name__,
)
@pytest.mark.parametrize("index", [0, None])
def test_other_frozen_values_refuse_their_fields_and_every_other_name_alike(held, index):
    name = "no_field" if index is None else dataclasses.fields(held)[index].name
    with pytest.raises(dataclasses.FrozenInstanceError, match=rf"{type(held).__name__} cannot be changed: '{name}'"):
        setattr(held, name, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(held, name)


def test_asdict_and_astuple_take_a_token(token, sent):
    fields = dataclasses.asdict(token)
    assert json.loads(json.dumps(fields | {"scopes": sorted(token.scopes), "roles": []}))["claims"] == sent
    assert dataclasses.astuple(token)[9] == sent


def test_claims_are_read_from_their_json_at_the_first_look():
    issuer = FakeIssuer()
    token = issuer.validator().validate(issuer.mint(**NESTED))
    held = vars(AccessToken)["claims"].fset.__self__  # the slot below the property
    assert type(held.__get__(token)) is bytes
    assert token.claims is token.claims
    assert type(held.__get__(token)) is type(token.claims)
