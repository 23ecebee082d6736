"""Protected resource metadata (RFC 9728): where it is served, what it says, and what a client makes of it."""

import json
import logging
from typing import Annotated

import fastapi
import flask
import httpx
import pytest
from mcp.client.auth import utils as mcp
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from werkzeug.test import Client as Werkzeug

from tokenguard import (
    ConfigurationError,
    DPoP,
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidTokenError,
    Issuer,
    Issuers,
    MissingTokenError,
    MutualTLS,
    ResourceMetadata,
    asgi,
    wsgi,
)
from tokenguard import fastapi as ours
from tokenguard import flask as flask_guard
from tokenguard import starlette as starlette_guard
from tokenguard._adapters.metadata import scopes_of
from tokenguard.challenge import reject
from tokenguard.requirements import Role, Scope
from tokenguard.testing import FakeIssuer

RESOURCE = "https://api.example.com/orders"
PATH = "/.well-known/oauth-protected-resource/orders"
URL = f"https://api.example.com{PATH}"
ISSUER = FakeIssuer("https://auth.example.com", audience=RESOURCE)


def metadata(**more):
    return ResourceMetadata(RESOURCE, **more)


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "url"),
    [
        ("https://api.example.com", "https://api.example.com/.well-known/oauth-protected-resource"),
        ("https://api.example.com/", "https://api.example.com/.well-known/oauth-protected-resource"),
        (RESOURCE, URL),
        ("https://api.example.com/a/b/", "https://api.example.com/.well-known/oauth-protected-resource/a/b/"),
        ("https://api.example.com/a?b=c", "https://api.example.com/.well-known/oauth-protected-resource/a?b=c"),
        ("http://localhost:8000/mcp", "http://localhost:8000/.well-known/oauth-protected-resource/mcp"),
        ("http://127.0.0.1/mcp", "http://127.0.0.1/.well-known/oauth-protected-resource/mcp"),
        ("http://[::1]:8000", "http://[::1]:8000/.well-known/oauth-protected-resource"),
    ],
)
def test_where_it_is(resource, url):
    made = ResourceMetadata(resource)
    assert (made.resource, made.url) == (resource, url)
    assert url.split("?")[0].endswith(made.path)


BAD = [
    *((one, {}) for one in (None, "", b"https://a.example", "api", "http://api.example.com", "https://a.example/#x")),
    *((one, {}) for one in ("https://u:p@a.example", "http://192.168.0.1", "http://localhost.example.com", "ftp://x")),
    (RESOURCE, {"authorization_servers": []}),
    (RESOURCE, {"authorization_servers": "auth"}),
    (RESOURCE, {"scopes_supported": 'a"b'}),
    (RESOURCE, {"resource_name": ""}),
    (RESOURCE, {"resource_documentation": "docs"}),
    (RESOURCE, {"more": 5}),
    (RESOURCE, {"more": {"x": {1}}}),
    (RESOURCE, {"more": {"x": float("nan")}}),
    (RESOURCE, {"more": {"resource": "https://other.example"}}),
]


@pytest.mark.parametrize(("resource", "more"), BAD, ids=range(len(BAD)))
def test_bad_settings_are_rejected(resource, more):
    with pytest.raises(ConfigurationError):
        ResourceMetadata(resource, **more)


@pytest.mark.parametrize("given", [5, ["https://a.example"], ResourceMetadata])
def test_what_resource_metadata_may_be(given):
    for make in (
        lambda: asgi.BearerMiddleware(None, ISSUER.validator(), resource_metadata=given),
        lambda: flask_guard.TokenGuard(resource_metadata=given),
    ):
        with pytest.raises(ConfigurationError, match="resource_metadata"):
            make()


# -- the document ------------------------------------------------------------------------------------------------------


def test_the_document_says_what_the_validator_says():
    validator = ISSUER.validator(
        [
            ISSUER.as_issuer(),
            Issuer("https://static.example", jwks=ISSUER.jwks()),
            Issuer("https://uri.example", jwks_uri="https://uri.example/jwks"),
            Issuers({}.get),
        ]
    )
    assert metadata().document(validator) == {
        "resource": RESOURCE,
        "authorization_servers": [ISSUER.url],
        "bearer_methods_supported": ["header"],
    }
    for scopes in (["b", "a", "a"], {"a", "b"}, "b a", iter("ba")):
        assert metadata().document(validator, scopes)["scopes_supported"] == ["a", "b"]
    with pytest.raises(ConfigurationError, match="scope"):
        metadata().document(validator, b"a")
    full = metadata(
        authorization_servers="https://other.example",
        scopes_supported="z y",
        resource_name="Orders",
        resource_documentation="https://docs.example",
        more={"jwks_uri": "https://api.example.com/jwks"},
    )
    assert full.document(validator, ["a"]) == {
        "resource": RESOURCE,
        "authorization_servers": ["https://other.example"],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["z", "y"],
        "resource_name": "Orders",
        "resource_documentation": "https://docs.example",
        "jwks_uri": "https://api.example.com/jwks",
    }
    assert "authorization_servers" not in metadata().document(ISSUER.validator(Issuers({}.get)))


def test_the_document_says_how_tokens_are_bound():
    dpop = DPoP("https://api.example.com", required=True, algorithms=["ES256"])
    found = metadata().document(ISSUER.validator(dpop=dpop, mtls=MutualTLS()))
    assert found["dpop_signing_alg_values_supported"] == ["ES256"]
    assert found["dpop_bound_access_tokens_required"] is True
    assert found["tls_client_certificate_bound_access_tokens"] is True


def test_a_resource_that_is_no_audience_is_warned_of_once(caplog):
    validator = ISSUER.validator()
    for resource in (RESOURCE, "https://other.example", "https://other.example"):
        asgi.BearerMiddleware(None, validator, resource_metadata=ResourceMetadata(resource))
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.args[0] for record in warnings] == ["https://other.example"]


# -- served ------------------------------------------------------------------------------------------------------------


class Class(HTTPEndpoint):
    @starlette_guard.require(Scope("c") | Role("r") & Scope("d"))
    async def get(self, request):
        return JSONResponse({})


def starlette_app():
    async def read(request):
        return JSONResponse({})

    routes = [
        Route("/orders", starlette_guard.require_scope("a")(read)),
        Mount("/below", routes=[Route("/x", starlette_guard.require_scope("b")(read)), Route("/y", Class)]),
    ]
    guard = Middleware(asgi.BearerMiddleware, validator=ISSUER.validator(), scope="door", resource_metadata=metadata())
    return Starlette(routes=routes, middleware=[guard])


def fastapi_app():
    app = fastapi.FastAPI()
    bearer = ours.BearerToken(ISSUER.validator(), resource_metadata=metadata())
    ours.add_error_handler(app)
    ours.add_resource_metadata(app, bearer)

    def person(token: Annotated[object, fastapi.Security(bearer, scopes=["b"])]):
        return token

    @app.get("/orders")
    def read(token: Annotated[object, fastapi.Security(bearer, scopes=["a"])]):
        return {}

    @app.get("/x", dependencies=[fastapi.Security(person, scopes=["c"])])
    def more():
        return {}

    router = fastapi.APIRouter()

    @router.get("/y", dependencies=[fastapi.Depends(bearer.require(Scope("a") | Scope("door")))])
    def role():
        return {}

    @router.get("/z", dependencies=[fastapi.Security(lambda: None, scopes=["not-ours"])])
    def other():
        return {}

    late = fastapi.APIRouter()

    @late.get("/late")
    def late_one():
        return {}

    app.include_router(router)
    app.include_router(late, dependencies=[fastapi.Security(person, scopes=["d"])])
    return app


def flask_app(guarded=True):
    app = flask.Flask(__name__)
    guard = flask_guard.TokenGuard(app, ISSUER.validator(), resource_metadata=metadata()) if guarded else None
    blueprint = flask.Blueprint("below", __name__)
    if guard is not None:
        guard.protect(blueprint, scope="door")

    @app.get("/orders")
    @flask_guard.require_scope("a")
    def read():
        return {}

    @blueprint.get("/x")
    @flask_guard.require(Scope("b") & Scope("c") & Scope("d"))
    def more():
        return {}

    app.register_blueprint(blueprint)
    return app


def wsgi_app():
    app = flask_app(guarded=False)
    app.wsgi_app = wsgi.BearerMiddleware(app.wsgi_app, ISSUER.validator(), scope="door", resource_metadata=metadata())
    return app


class Served:
    """One application, asked over its own protocol. The paths begin with `prefix` where it is mounted."""

    def __init__(self, app):
        self.app = app

    def __call__(self, method="GET", path=PATH, prefix="", headers=()):
        if isinstance(self.app, flask.Flask):
            answer = Werkzeug(self.app).open(
                path, base_url=f"https://api.example.com{prefix}", method=method, headers=dict(headers)
            )
            return answer.status_code, {name.lower(): value for name, value in answer.headers}, answer.data
        client = TestClient(self.app, base_url="https://api.example.com", root_path=prefix)
        answer = client.request(method, prefix + path, headers=dict(headers))
        return answer.status_code, dict(answer.headers), answer.content


APPS = {"starlette": starlette_app, "fastapi": fastapi_app, "flask": flask_app, "wsgi": wsgi_app}


@pytest.fixture(params=APPS)
def served(request):
    return Served(APPS[request.param]())


def test_it_is_served_without_a_token_with_the_scopes_of_all_routes(served):
    status, headers, body = served()
    assert (status, headers["content-type"]) == (200, "application/json")
    assert headers["cache-control"] == "public, max-age=3600"
    assert headers["access-control-allow-origin"] == "*"
    assert json.loads(body) == {
        "resource": RESOURCE,
        "authorization_servers": [ISSUER.url],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["a", "b", "c", "d", "door"],
    }
    assert int(headers["content-length"]) == len(body)
    assert served("HEAD") == (200, headers, b"")
    assert served(headers={"Authorization": "Bearer x", "Host": "evil.example"})[2] == body


def test_a_preflight_is_answered(served):
    status, headers, body = served("OPTIONS")
    assert (status, body) == (204, b"")
    assert headers["access-control-allow-origin"] == headers["access-control-allow-headers"] == "*"
    assert headers["access-control-allow-methods"] == headers["allow"] == "GET, HEAD, OPTIONS"


def test_every_other_request_is_guarded_or_not_found(served):
    for path in ("/.well-known/oauth-protected-resource", PATH + "/", PATH + "/x", PATH.upper(), "/x" + PATH):
        assert served(path=path)[0] in (401, 404)
    for method in ("POST", "PUT", "DELETE"):
        assert served(method)[0] in (401, 404, 405)
    assert served(prefix="/mounted")[0] in (401, 404)


def test_the_whole_path_counts_with_its_prefix():
    prefix, rest = PATH[:12], PATH[12:]
    for make in (starlette_app, flask_app, wsgi_app):
        assert Served(make())(path=rest, prefix=prefix)[0] == 200


def test_a_401_names_it_and_the_scopes_that_the_route_would_ask_for(served):
    name = "flask" if isinstance(served.app, flask.Flask) and not hasattr(served.app.wsgi_app, "app") else "other"
    for headers in ({}, {"Authorization": "Bearer x"}):
        challenge = served(path="/orders", headers=headers)[1]["www-authenticate"]
        assert f'resource_metadata="{URL}"' in challenge
        scope = "a" if name == "flask" or isinstance(served.app, fastapi.FastAPI) else "door"
        assert f'scope="{scope}"' in challenge
    weak = {"Authorization": f"Bearer {ISSUER.mint('z')}"}
    status, headers, _ = served(path="/orders", headers=weak)
    assert (status, f'resource_metadata="{URL}"' in headers["www-authenticate"]) == (403, True)


def test_a_401_of_the_application_names_the_scopes_of_its_route():
    on_fastapi = fastapi.FastAPI()
    bearer = ours.BearerToken(ISSUER.validator(), resource_metadata=metadata())
    ours.add_error_handler(on_fastapi)

    @on_fastapi.get("/one", dependencies=[fastapi.Security(bearer, scopes=["a"])])
    @on_fastapi.get("/two", dependencies=[fastapi.Security(bearer, scopes=["a"]), fastapi.Depends(bearer.require("b"))])
    @on_fastapi.get("/none", dependencies=[fastapi.Security(bearer)])
    def other():
        raise InvalidTokenError

    on_flask = flask.Flask(__name__)
    flask_guard.TokenGuard(on_flask, ISSUER.validator(), resource_metadata=metadata())

    def view():
        raise InvalidTokenError

    on_flask.get("/one", endpoint="one")(flask_guard.require_scope("a")(view))
    on_flask.get("/two", endpoint="two")(flask_guard.require_scope("a")(flask_guard.require("b")(view)))
    on_flask.get("/none", endpoint="none")(flask_guard.require_scope()(view))
    token = {"Authorization": f"Bearer {ISSUER.mint('a b')}"}
    for app in (on_fastapi, on_flask):
        for path, scope in (("/one", ', scope="a"'), ("/two", ', scope="a b"'), ("/none", "")):
            status, headers, _ = Served(app)(path=path, headers=token)
            assert status == 401
            assert headers["www-authenticate"].endswith(f'resource."{scope}, resource_metadata="{URL}"'), path


def test_with_a_url_alone_a_401_carries_no_scope():
    app = Starlette()
    app.add_middleware(asgi.BearerMiddleware, validator=ISSUER.validator(), scope="a", resource_metadata=URL)
    challenge = Served(app)(path="/")[1]["www-authenticate"]
    assert challenge == f'Bearer realm="api", resource_metadata="{URL}"'
    assert Served(app)()[0] == 401


def test_reject_lists_the_scopes_that_it_is_given():
    for scope in (("a", 'b"', "c"), ["a", "c"], "a c", " a  c"):
        headers = dict(reject(MissingTokenError(), scope=scope).headers)
        assert headers["WWW-Authenticate"] == 'Bearer realm="api", scope="a c"'
    for scope in ((), "", [""]):
        assert "scope" not in dict(reject(MissingTokenError(), scope=scope).headers)["WWW-Authenticate"]
    for scope in (None, 5, b"a"):
        with pytest.raises(ConfigurationError, match="scope"):
            reject(MissingTokenError(), scope=scope)
    assert "scope" not in dict(reject(MissingTokenError()).headers)["WWW-Authenticate"]


def test_a_step_up_that_names_no_scopes_lists_those_that_the_route_would_ask_for():
    def challenge(*required):
        error = InsufficientAuthenticationError(("phr",), required=required)
        return dict(reject(error, scope="a b").headers)["WWW-Authenticate"]

    assert challenge().endswith('acr_values="phr", scope="a b"')
    assert challenge("c").endswith('acr_values="phr", scope="c"')


def test_add_resource_metadata_needs_something_to_serve():
    app = fastapi.FastAPI()
    for bearer in (
        None,
        ours.BearerToken(ISSUER.validator()),
        ours.BearerToken(ISSUER.validator(), resource_metadata=URL),
    ):
        with pytest.raises(ConfigurationError, match="bearer"):
            ours.add_resource_metadata(app, bearer)


def test_the_search_for_scopes_takes_whatever_an_app_is():
    class Odd:
        @property
        def routes(self):
            raise ValueError

    loop = Odd()
    loop.app = loop
    assert scopes_of([loop, None, 5, "x"]) == set()


# -- a client ----------------------------------------------------------------------------------------------------------


async def test_the_mcp_sdk_finds_the_authorization_server_and_the_scopes(served):
    """Its own discovery, step by step, as its `OAuthClientProvider` takes them."""

    def fetch(url):
        parts = httpx.URL(url)
        status, headers, body = served(path=parts.path)
        return httpx.Response(status, headers=headers, content=body, request=httpx.Request("GET", url))

    refused = fetch(RESOURCE)
    assert refused.status_code == 401
    named = mcp.extract_resource_metadata_from_www_auth(refused)
    assert named == URL
    assert mcp.build_protected_resource_metadata_discovery_urls(named, RESOURCE)[0] == URL
    found = await mcp.handle_protected_resource_response(fetch(named))
    assert str(found.resource) == RESOURCE
    assert [str(server).rstrip("/") for server in found.authorization_servers] == [ISSUER.url]
    wanted = mcp.extract_scope_from_www_auth(refused)
    assert wanted in ("a", "door")
    assert mcp.get_client_metadata_scopes(wanted, found) == wanted
    assert mcp.get_client_metadata_scopes(None, found) == "a b c d door"


def test_reject_takes_it_where_a_url_may_stand():
    for error in (MissingTokenError(), InsufficientScopeError(("a",))):
        answer = reject(error, resource_metadata=metadata())
        assert answer == reject(error, resource_metadata=URL)
        assert f'resource_metadata="{URL}"' in dict(answer.headers)["WWW-Authenticate"]
    with pytest.raises(ConfigurationError):
        reject(MissingTokenError(), resource_metadata=ResourceMetadata('https://api.example.com/"'))
