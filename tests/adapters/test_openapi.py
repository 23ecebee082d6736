"""What OpenAPI says of routes behind `tokenguard.fastapi.BearerToken`: the scheme, its scopes, the rejections."""

import json
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket
from fastapi.openapi import models
from fastapi.security import OAuth2AuthorizationCodeBearer
from raw_requests import ask, connect

from tokenguard.errors import ConfigurationError
from tokenguard.fastapi import REFUSALS, BearerToken, add_error_handler
from tokenguard.issuer import Issuer
from tokenguard.requirements import Acr, Role, Scope
from tokenguard.resource import DPoP
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.token import AccessToken
from tokenguard.validator import TokenValidator

ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
TEXTS = {"orders:read": "Read orders", "orders:write": "Change orders"}
CODE = models.OAuthFlowAuthorizationCode(
    authorizationUrl="https://as.example/authorize", tokenUrl="https://as.example/token", scopes=TEXTS
)
MACHINES = models.OAuthFlowClientCredentials(tokenUrl="https://as.example/token", scopes={"orders:read": "Read orders"})
OAUTH2 = models.OAuth2(flows=models.OAuthFlows(authorizationCode=CODE, clientCredentials=MACHINES))


def made(bearer):
    """An app with a route of each kind behind `bearer`."""
    app = FastAPI(responses=REFUSALS)
    add_error_handler(app)
    reader = Annotated[AccessToken, Security(bearer, scopes=["orders:read"])]

    @app.get("/orders")
    async def orders(token: reader) -> str:
        return token.subject or ""

    @app.post("/orders", dependencies=[Depends(bearer.require(Scope("orders:write") & Role("staff") | Scope("all")))])
    async def change() -> str:
        return "changed"

    @app.post("/payments", dependencies=[Depends(bearer.require(Acr("phr")))])
    async def pay() -> str:
        return "paid"

    @app.websocket("/live")
    async def live(websocket: WebSocket, _: reader) -> None:
        await websocket.accept()
        await websocket.close()

    router = APIRouter(prefix="/stock", dependencies=[Security(bearer, scopes=["stock:read"])])

    @router.get("/now")
    async def stock(_: reader) -> str:
        return "42"

    app.include_router(router)
    return app


def schemes(**settings):
    bearer = BearerToken(settings.pop("validator", VALIDATOR), **settings)
    return made(bearer).openapi()["components"]["securitySchemes"]


def fields(token):
    return [("Authorization", f"Bearer {token}")]


def test_several_flows_with_the_texts_of_their_scopes():
    document = made(BearerToken(VALIDATOR, openapi=OAUTH2, scheme_name="Staff", description="Log in")).openapi()
    assert document["components"]["securitySchemes"] == {
        "Staff": {
            "type": "oauth2",
            "description": "Log in",
            "flows": {
                "authorizationCode": {
                    "authorizationUrl": "https://as.example/authorize",
                    "tokenUrl": "https://as.example/token",
                    "scopes": TEXTS,
                },
                "clientCredentials": {"tokenUrl": "https://as.example/token", "scopes": {"orders:read": "Read orders"}},
            },
        }
    }
    paths = document["paths"]
    assert paths["/orders"]["get"]["security"] == [{"Staff": ["orders:read"]}]
    [required] = paths["/orders"]["post"]["security"]
    assert sorted(required["Staff"]) == ["all", "orders:write"]
    [required] = paths["/stock/now"]["get"]["security"]
    assert sorted(required["Staff"]) == ["orders:read", "stock:read"]
    assert "/live" not in paths
    assert OAUTH2.description is None  # the application's own model stays as it is


@pytest.mark.parametrize("openapi", ["bearer", "openid_connect", OAUTH2])
async def test_the_scheme_changes_no_answer(openapi):
    bearer = BearerToken(VALIDATOR, openapi=openapi)
    app = made(bearer)
    assert (await ask(app, path="/orders", fields=fields(ISSUER.mint("orders:read")))).status == 200
    assert (await ask(app, path="/orders", fields=fields(ISSUER.mint("other")))).status == 403
    assert (await ask(app, path="/orders")).status == 401
    assert (await connect(app, "/live", fields=fields(ISSUER.mint("orders:read")))).status == 101
    assert (await connect(app, "/live")).status == 401
    assert (await ask(app, path="/stock/now", fields=fields(ISSUER.mint("orders:read")))).status == 403
    app.dependency_overrides[bearer] = lambda: AccessToken(issuer="x", subject="fake", scopes=frozenset({"all"}))
    assert (await ask(app, "POST", path="/orders")).status == 200
    assert "BearerToken" in app.openapi()["components"]["securitySchemes"]


@pytest.mark.parametrize("url", ["https://as.example", "https://as.example/", "https://as.example/t/1"])
def test_openid_connect_names_the_metadata_of_the_issuer(url):
    validator = FakeIssuer(url).validator()
    found = schemes(validator=validator, openapi="openid_connect")
    place = f"{url.removesuffix('/')}/.well-known/openid-configuration"
    assert found == {"BearerToken": {"type": "openIdConnect", "openIdConnectUrl": place}}
    assert place in FakeIssuer(url).endpoints.discovery_urls()


class StandIn:
    async def validate_async(self, raw, *, scope=()):
        raise AssertionError


@pytest.mark.parametrize(
    "validator",
    [
        TokenValidator(["https://one.example", "https://other.example"], "a"),
        TokenValidator(Issuer("https://one.example", jwks=ISSUER.jwks()), "a"),
        TokenValidator(Issuer("one", jwks_uri="https://one.example/jwks"), "a"),
        TokenValidator(Issuer("https://one.example?x=1", jwks_uri="https://one.example/jwks"), "a"),
        StandIn(),
    ],
)
def test_openid_connect_needs_one_issuer_with_metadata(validator):
    with pytest.raises(ConfigurationError, match="OpenIdConnect"):
        BearerToken(validator, openapi="openid_connect")
    given = models.OpenIdConnect(openIdConnectUrl="https://one.example/.well-known/openid-configuration")
    assert BearerToken(validator, openapi=given).model is given


@pytest.mark.parametrize(
    "openapi",
    [
        "Bearer",
        "oauth2",
        "",
        None,
        True,
        {"type": "oauth2"},
        models.OAuth2,
        models.OAuthFlows(authorizationCode=CODE),
        CODE,
        [OAUTH2],
    ],
)
def test_what_is_no_scheme_is_a_configuration_error(openapi):
    with pytest.raises(ConfigurationError, match="OAuth2"):
        BearerToken(VALIDATOR, openapi=openapi)


def test_a_dependency_of_fastapi_has_the_model():
    theirs = OAuth2AuthorizationCodeBearer("https://as.example/authorize", "https://as.example/token")
    with pytest.raises(ConfigurationError, match=r"\.model"):
        BearerToken(VALIDATOR, openapi=theirs)
    assert schemes(openapi=theirs.model)["BearerToken"]["type"] == "oauth2"


def test_a_token_in_another_field():
    header = "Cf-Access-Jwt-Assertion"
    assert schemes(header=header, description="Put there by the gateway") == {
        "BearerToken": {"type": "apiKey", "in": "header", "name": header, "description": "Put there by the gateway"}
    }
    for openapi in ("openid_connect", OAUTH2, models.HTTPBearer()):
        with pytest.raises(ConfigurationError, match="exclude each other"):
            BearerToken(VALIDATOR, header=header, openapi=openapi)
    other = models.APIKey.model_validate({"in": "header", "name": header})
    assert BearerToken(VALIDATOR, header=header, openapi=other).model is other


# ------------------------------------------------------------------------------------------------------------ REFUSALS


def fits(value, schema):
    """Whether `value` is an instance, as far as the keywords of `REFUSALS` go. Members that it does not name: no."""
    if "const" in schema and value != schema["const"]:
        return False
    if schema["type"] == "object":
        named = schema["properties"]
        return set(schema["required"]) <= set(value) <= set(named) and all(
            fits(member, named[name]) for name, member in value.items()
        )
    return isinstance(value, {"string": str, "integer": int}[schema["type"]])


async def rejections():
    app = made(BearerToken(VALIDATOR, show_reason=True))
    yield await ask(app, path="/orders", fields=fields("!"))
    yield await ask(app, path="/orders")
    yield await ask(app, path="/orders", fields=fields(ISSUER.expired()))
    yield await ask(app, "POST", path="/payments", fields=fields(ISSUER.mint()))
    yield await ask(app, path="/orders", fields=fields(ISSUER.mint("other")))
    yield await ask(app, "POST", path="/orders", fields=fields(ISSUER.mint("orders:write")))
    bound = made(BearerToken(ISSUER.validator(dpop=DPoP("https://api.example", nonce_secret=b"n" * 32))))
    key = ISSUER.client_key()
    sent = key.headers(ISSUER.mint("orders:read", bound_to=key), "GET", "https://api.example/orders")
    yield await ask(bound, path="/orders", fields=list(sent.items()))  # without a nonce
    fresh = FakeIssuer()
    with fresh.outage():
        yield await ask(made(BearerToken(fresh.validator())), path="/orders", fields=fields(fresh.mint()))


async def test_refusals_describe_what_is_answered():
    described = made(BearerToken(VALIDATOR)).openapi()["paths"]["/orders"]["get"]["responses"]
    seen, fields_seen = set(), set()
    async for answer in rejections():
        response = described[str(answer.status)]
        seen.add(answer.status)
        body = json.loads(answer.body)
        [(media_type, content)] = response["content"].items()
        assert answer.header("content-type") == media_type == "application/problem+json"
        assert fits(body, content["schema"]), (body, content["schema"])
        for name, header in response["headers"].items():
            value = answer.header(name.lower())
            assert fits(value, header["schema"]) if value is not None else not header["required"], name
        fields_seen.update(name for name, _ in answer.headers)
    assert seen == set(REFUSALS) == {400, 401, 403, 503}
    assert {"www-authenticate", "retry-after", "dpop-nonce"} <= fields_seen


def test_refusals_beside_others_and_on_a_router():
    before = json.dumps(REFUSALS)
    app = FastAPI()
    bearer = BearerToken(VALIDATOR)
    router = APIRouter(dependencies=[Security(bearer)], responses={**REFUSALS, 404: {"description": "Nothing there"}})

    @router.get("/one")
    async def one() -> str:
        return "one"

    app.include_router(router)
    app.openapi()["paths"]["/one"]["get"]["responses"]["401"]["description"] = "changed by the application"
    assert set(app.openapi()["paths"]["/one"]["get"]["responses"]) == {"200", "400", "401", "403", "404", "503"}
    assert json.dumps(REFUSALS) == before
