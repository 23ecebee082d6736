"""One table of requirements through every adapter: the same status, challenge and body at each of them."""

import asyncio
import json
import time
from functools import partial
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Security
from observed_validators import WAYS
from raw_requests import ask, ask_scope, ask_wsgi, challenge, http_scope
from request_table import by_asgi, columns, plain_asgi, plain_wsgi

from tokenguard import (
    AccessToken,
    ConfigurationError,
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidTokenError,
    MissingTokenError,
    Reason,
    RejectedError,
    ResourceRequest,
    TokenGuardError,
    asgi,
    fastapi,
    flask,
    starlette,
    wsgi,
)
from tokenguard.challenge import reject
from tokenguard.requirements import Acr, Bound, MaxAge, Role, Scope
from tokenguard.testing import FakeIssuer

NOW = 1_900_000_000.0
ISSUER = FakeIssuer(clock=lambda: NOW)
SETTINGS = {"realm": "orders"}


def validator():
    return ISSUER.validator(ISSUER.as_issuer(role_claims=["roles"]))


def adapters(validator, requirement):
    return columns(validator, requirement=requirement, settings=SETTINGS)


# -- the table ---------------------------------------------------------------------------------------------------------


def own_path(token, request, now):
    """The token is for this very path, and the time is the validator's."""
    assert now == NOW
    assert request.method == ("POST" if request.url.startswith("/shop.Orders/") else "GET")  # a gRPC call is a POST
    assert ("x-field", "1") in request.headers
    if request.url not in token.claims.get("paths", ()):
        raise InsufficientScopeError


def own_client(token, request, now):
    if token.client_id != "orders-web":
        raise MissingTokenError  # which must not let a request pass as one without a token


def broken(token, request, now):
    raise KeyError


def says_yes(token, request, now):
    return True


def step_up(acr_values=(), max_age=None, scopes=()):
    return InsufficientAuthenticationError(acr_values, max_age, scopes)


def of_role(*scopes):
    return InsufficientScopeError(scopes, reason=Reason.ROLE)


GOOD = {
    "scope": "a b",
    "roles": ["r"],
    "acr": "phr",
    "auth_time": NOW - 10,
    "paths": sorted({column.path for column in adapters(validator(), None).values()}),
    "client_id": "orders-web",
}
STRONG = "a" & Acr("phr", "phrh") & MaxAge(300)

# requirement, what a good token is changed to, the error that must come of it (None: none)
TABLE = {
    "scope": (Scope("a", "b"), {"scope": "a"}, InsufficientScopeError(("a", "b"))),
    "a text": ("a b", {"scope": "b"}, InsufficientScopeError(("a", "b"))),
    "any of several scopes": (Scope("a") | Scope("b"), {"scope": "c"}, InsufficientScopeError(("a",))),
    "any of several scopes, the second": (Scope("x") | Scope("b"), {}, None),
    "role": (Role("r"), {"roles": []}, of_role()),
    "role, mistyped": (Role("r"), {"roles": {"r": 1}, "scope": ""}, None),
    "role, in a number": (Role("r"), {"roles": 1}, of_role()),
    "role and scope": ("a" & Role("r"), {"roles": ["q"]}, of_role("a")),
    "acr": (Acr("phr", "phrh"), {"acr": "pwd"}, step_up(("phr", "phrh"))),
    "acr, absent": (Acr("phr"), {"acr": None}, step_up(("phr",))),
    "acr, mistyped": (Acr("phr"), {"acr": ["phr"]}, step_up(("phr",))),
    "age": (MaxAge(300), {"auth_time": NOW - 301}, step_up((), 300)),
    "age, ahead": (MaxAge(300), {"auth_time": NOW + 31}, step_up((), 300)),
    "age, within the leeway": (MaxAge(300), {"auth_time": NOW + 30}, None),
    "age, mistyped": (MaxAge(300), {"auth_time": str(NOW)}, step_up((), 300)),
    "step-up": (STRONG, {"acr": "pwd"}, step_up(("phr", "phrh"), 300, ("a",))),
    "step-up, the scope first": (STRONG, {"acr": "pwd", "scope": "b"}, InsufficientScopeError(("a",))),
    "step-up or a role": (STRONG | Role("x"), {"auth_time": 1}, step_up(("phr", "phrh"), 300, ("a",))),
    "step-up or a role, the role": (STRONG | Role("r"), {"auth_time": 1}, None),
    "a role or step-up": (Role("x") | STRONG, {"auth_time": 1}, of_role()),
    "bound": (Bound(), {}, InvalidTokenError(reason=Reason.CONFIRMATION)),
    "bound or fresh": (Bound() | MaxAge(300), {}, None),
    "a function": (own_path, {"paths": ["/other"]}, InsufficientScopeError()),
    "a function and a scope": (own_path & Scope("a"), {"paths": []}, InsufficientScopeError()),
    "a function says that none came": (own_client, {"client_id": "x"}, InvalidTokenError()),
    "a function or a scope": (own_client | Scope("b"), {"client_id": "x"}, None),
    "a function that breaks": (broken, {}, ConfigurationError()),
    "a function that breaks, before another": (broken | Scope("a"), {}, ConfigurationError()),
    "a function that breaks, not reached": (Scope("a") | broken, {}, None),
    "a function with a result": (says_yes, {}, ConfigurationError()),
}
MEETABLE = {name: row for name, row in TABLE.items() if not isinstance(row[2], ConfigurationError) and name != "bound"}


PLAIN = by_asgi(None, ())  # what is checked of an answer that came by no column


def mint(**changes):
    return ISSUER.mint(**{name: value for name, value in {**GOOD, **changes}.items() if value is not None})


def fields(token):
    return [("Authorization", f"Bearer {token}".encode()), ("X-Field", "1")]


def check(answer, error, column=PLAIN):
    if error is None:
        assert answer.status == column.accepted
        return
    assert answer.verdict == column.expected(error, "GET", **SETTINGS)
    if isinstance(error, RejectedError):
        parameters = challenge(answer.header("www-authenticate"))
        assert parameters.get("scope", "") == " ".join(getattr(error, "required", ()))
        assert parameters.get("acr_values", "") == " ".join(getattr(error, "acr_values", ()))
        assert parameters.get("max_age") == (str(error.max_age) if getattr(error, "max_age", None) else None)


@pytest.fixture(autouse=True)
def _frozen(monkeypatch):
    """For what stands in for a validator, and has no clock."""
    monkeypatch.setattr(time, "time", lambda: NOW)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_a_requirement_is_answered_the_same_by_every_adapter(row, way):
    requirement, changes, error = row
    token = mint(**changes)
    for column in adapters(WAYS[way](validator()), requirement).values():
        for _ in range(2):  # the second time the token may be remembered
            check(column.ask("GET", "", fields(token)), error, column)
        check(column.ask("GET", "", []), MissingTokenError(), column)


@pytest.mark.parametrize("row", MEETABLE.values(), ids=MEETABLE)
def test_a_requirement_that_is_met_lets_a_request_pass_every_adapter(row):
    for column in adapters(validator(), row[0]).values():
        check(column.ask("GET", "", fields(mint())), None, column)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_the_validator_says_the_same_without_an_adapter(row):
    requirement, changes, error = row
    token, one = mint(**changes), validator()
    request = ResourceRequest("GET", "/async", headers={"x-field": "1"})
    for run in (one.validate, lambda *a, **k: asyncio.run(one.validate_async(*a, **k))):
        for _ in range(2):
            try:
                run(token, require=requirement, request=request)
                found = None
            except TokenGuardError as raised:
                found = raised
            assert type(found) is type(error)
            assert error is None or reject(found) == reject(error)


# -- what a function sees of the request -------------------------------------------------------------------------------


class Seen(list):
    def __call__(self, token, request, now):
        self.append(request)


@pytest.mark.parametrize(
    ("path", "root", "url"),
    [
        ("/orders", "", "/orders"),
        ("/api/orders", "/api", "/api/orders"),
        ("/orders", "/api", "/api/orders"),
        ("/apiary", "/api", "/api/apiary"),
        ("/api", "/api", "/api"),
        ("/orders", "/api/", "/api/orders"),
        ("/a b/é%41/!$&'()*+,;=:@~-._", "", "/a%20b/%C3%A9%2541/!$&'()*+,;=:@~-._"),
        ("/\ud800", "", "/%ED%A0%80"),
    ],
)
def test_the_path_of_an_asgi_request_is_the_whole_one_as_a_url(path, root, url):
    seen = Seen()
    guarded = asgi.BearerMiddleware(plain_asgi, validator(), require=seen)
    scope = http_scope("POST", fields=[*fields(mint()), ("X-Two", "1"), ("X-Two", "2")])
    assert asyncio.run(ask_scope(guarded, {**scope, "path": path, "root_path": root})).status == 200
    (request,) = seen
    assert (request.method, request.url) == ("POST", url)
    assert [value for name, value in request.headers if name == "x-two"] == ["1", "2"]
    assert (request.scheme, request.proof, request.certificate) == ("Bearer", None, None)


@pytest.mark.parametrize(
    ("script", "path", "url"),
    [
        ("", "/orders", "/orders"),
        ("/api", "/orders", "/api/orders"),
        ("", "/a b/Ã©%41", "/a%20b/%C3%A9%2541"),
    ],
)
def test_the_path_of_a_wsgi_request_is_the_whole_one_as_a_url(script, path, url):
    seen = Seen()
    guarded = wsgi.BearerMiddleware(plain_wsgi, validator(), require=seen)
    answer = ask_wsgi(
        guarded, "POST", "/", "", fields(mint()), SCRIPT_NAME=script, PATH_INFO=path, CONTENT_TYPE="text/plain"
    )
    assert answer.status == 200
    (request,) = seen
    assert (request.method, request.url) == ("POST", url)
    assert {("x-field", "1"), ("content-type", "text/plain")} <= set(request.headers)


def test_a_request_is_read_only_where_a_requirement_looks_at_it(monkeypatch):
    monkeypatch.setattr(ResourceRequest, "__post_init__", lambda _: pytest.fail("made"))
    for requirement in (Scope("a"), STRONG, Role("r") | Bound()):
        for column in adapters(validator(), requirement).values():
            check(column.ask("GET", "", fields(mint())), None, column)


# -- FastAPI -----------------------------------------------------------------------------------------------------------


def route_of(app, path, dependency):
    async def route(token):
        return {"scopes": sorted(token.scopes)}

    route.__annotations__ = {"token": dependency}
    app.get(path)(route)


@pytest.fixture
def bearer():
    return fastapi.BearerToken(validator(), **SETTINGS)


@pytest.fixture
def app(bearer):
    app = FastAPI()
    fastapi.add_error_handler(app)
    either, strong = bearer.require(Scope("a") | Scope("b")), bearer.require(Acr("phr") & "b")
    route_of(app, "/either", Annotated[AccessToken, Depends(either)])
    route_of(app, "/beside", Annotated[AccessToken, Security(strong, scopes=["c"])])

    async def both(one, two, three):
        return {"same": one is two is three}

    both.__annotations__ = {
        "one": Annotated[AccessToken, Depends(either)],
        "two": Annotated[AccessToken, Depends(strong)],
        "three": Annotated[AccessToken, Security(bearer)],
    }
    app.get("/both")(both)
    return app


def get(app, path, token):
    return asyncio.run(ask(app, "GET", path, "", fields(token)))


def test_the_scopes_of_all_alternatives_are_in_openapi(app):
    paths = app.openapi()["paths"]
    assert paths["/either"]["get"]["security"] == [{"BearerToken": ["a", "b"]}]
    assert paths["/beside"]["get"]["security"] == [{"BearerToken": ["c", "b"]}]
    assert not paths["/either"]["get"].get("parameters")
    assert list(app.openapi()["components"]["securitySchemes"]) == ["BearerToken"]


def test_scopes_of_the_dependencies_above_are_asked_too(app):
    assert get(app, "/beside", mint(scope="b c")).status == 200
    for changes, error in [
        ({"scope": "b"}, InsufficientScopeError(("c", "b"))),
        ({"scope": "c"}, InsufficientScopeError(("c", "b"))),
        ({"scope": "b c", "acr": "x"}, step_up(("phr",), None, ("c", "b"))),
    ]:
        check(get(app, "/beside", mint(**changes)), error)


def test_several_requirements_of_one_route_are_asked_of_one_token(app):
    assert json.loads(get(app, "/both", mint(scope="b")).body) == {"same": True}
    check(get(app, "/both", mint(scope="c")), InsufficientScopeError(("a",)))
    check(get(app, "/both", mint(scope="a")), InsufficientScopeError(("b",)))
    check(get(app, "/both", mint(scope="a b", acr="x")), step_up(("phr",), None, ("b",)))


def test_what_stands_for_the_dependency_stands_for_its_requirements(app, bearer):
    other = FakeIssuer("https://other.example", clock=lambda: NOW)
    app.dependency_overrides[bearer] = fastapi.BearerToken(other.validator(), **SETTINGS)
    assert get(app, "/either", other.mint("b")).status == 200
    check(get(app, "/either", other.mint("c")), InsufficientScopeError(("a",)))
    check(get(app, "/either", mint()), InvalidTokenError())
    for token, error in [
        (AccessToken(issuer="i", scopes=frozenset("a")), None),
        (AccessToken(issuer="i"), InsufficientScopeError(("a",))),
        (None, MissingTokenError()),
        ("text", ConfigurationError()),
    ]:
        app.dependency_overrides[bearer] = lambda token=token: token
        check(get(app, "/either", mint()), error)


# -- bad requirements --------------------------------------------------------------------------------------------------


async def lazily(*_):
    return None


@pytest.mark.parametrize("bad", [1, "", [], Scope, lazily, object()])
def test_what_is_no_requirement_is_refused_where_it_is_written(bad, bearer):
    for make in (
        lambda: asgi.BearerMiddleware(plain_asgi, validator(), require=bad),
        lambda: wsgi.BearerMiddleware(plain_wsgi, validator(), require=bad),
        lambda: starlette.require(bad),
        lambda: flask.require(bad),
        lambda: bearer.require(bad),
    ):
        with pytest.raises(ConfigurationError):
            make()


def test_without_requirements_any_good_token_passes(bearer):
    app = FastAPI()
    fastapi.add_error_handler(app)
    route_of(app, "/", Annotated[AccessToken, Depends(bearer.require())])
    assert get(app, "/", mint(scope=None)).status == 200
    check(asyncio.run(ask(app, "GET", "/", "", [])), MissingTokenError())


def test_what_is_optional_requires_nothing(bearer):
    for make in (
        lambda: asgi.BearerMiddleware(plain_asgi, validator(), optional=True, require=Role("r")),
        lambda: wsgi.BearerMiddleware(plain_wsgi, validator(), optional=True, require=own_path),
        lambda: fastapi.BearerToken(validator(), optional=True).require("a"),
        lambda: fastapi.BearerToken(validator(), optional=True).require(),
    ):
        with pytest.raises(ConfigurationError, match="optional"):
            make()


def test_an_optional_dependency_in_the_place_of_another_leaves_its_requirements(bearer, app):
    app.dependency_overrides[bearer] = fastapi.BearerToken(validator(), optional=True, **SETTINGS)
    check(asyncio.run(ask(app, "GET", "/either", "", [])), MissingTokenError())
    check(get(app, "/either", mint()), None)


def test_scope_and_require_of_a_middleware_are_both_asked():
    for make, send in (
        (partial(asgi.BearerMiddleware, plain_asgi), lambda app, token: asyncio.run(ask(app, fields=fields(token)))),
        (partial(wsgi.BearerMiddleware, plain_wsgi), lambda app, token: ask_wsgi(app, fields=fields(token))),
    ):
        app = make(validator(), scope="a", require=Acr("phr"), **SETTINGS)
        check(send(app, mint()), None)
        check(send(app, mint(scope="b")), InsufficientScopeError(("a",)))
        check(send(app, mint(acr="x")), step_up(("phr",), None, ("a",)))


# -- clocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken_clock", [lambda: 1 / 0, lambda: float("nan"), lambda: "now"], ids=["raises", "nan", "text"]
)
def test_a_clock_that_fails_before_a_further_requirement_is_an_error(broken_clock):
    """The middleware has let the token in; what the endpoint asks for is decided by the validator's clock again."""
    times = [lambda: NOW, broken_clock]

    def clock():
        return times.pop(0)()

    one = ISSUER.validator(ISSUER.as_issuer(role_claims=["roles"]), clock=clock)
    column = adapters(one, MaxAge(300))["starlette async"]
    check(column.ask("GET", "", fields(mint())), ConfigurationError(), column)
    assert not times
