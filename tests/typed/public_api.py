"""What type checkers infer of the public API. `make types` checks this file by mypy and pyright; nothing runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, assert_type

import flask as flask_library
from django.http import HttpRequest, HttpResponse
from fastmcp import FastMCP
from fastmcp.server.auth import AccessToken as FastMcpAccessToken
from mcp.server.auth.provider import AccessToken as McpAccessToken
from mcp.server.auth.provider import TokenVerifier as McpTokenVerifier
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tokenguard import AccessToken, Issuer, TokenValidator, django, flask, starlette
from tokenguard.client import IssuedToken, TokenSource
from tokenguard.errors import RejectedError, UnavailableError
from tokenguard.fastapi import BearerToken
from tokenguard.fastmcp import TokenGuardProvider
from tokenguard.mcp import TokenVerifier
from tokenguard.observe import ObservingAsgiMiddleware, Verdict
from tokenguard.otel import instrument
from tokenguard.requirements import Requirement, Role, Scope
from tokenguard.routes import Route, audit
from tokenguard.validator import IssuerState

validator = TokenValidator(Issuer("https://auth.example.com/"), "https://api.example.com")

# -- validate --


def of_a_token(raw: str) -> None:
    token = validator.validate(raw, scope="orders:read", require=Scope("a") & Role("b") | "c")
    assert_type(token, AccessToken)
    assert_type(token.subject, str | None)
    assert_type(token.scopes, frozenset[str])
    assert_type(token.roles, frozenset[str])
    assert_type(token.audience, tuple[str, ...])
    assert_type(token.is_machine, bool | None)


async def of_a_token_on_a_loop(raw: str) -> None:
    assert_type(await validator.validate_async(raw), AccessToken)


def of_a_validator() -> None:
    with validator as same:
        assert_type(same, TokenValidator)
    assert_type(validator.state(), tuple[IssuerState, ...])
    assert_type(validator.is_ready(), bool)
    assert_type(TokenValidator.from_env(), TokenValidator)
    assert_type(instrument(validator), Callable[[], None])


def of_requirements() -> None:
    assert_type(Scope("a") & Role("b"), Requirement)
    assert_type("a" | Role("b"), Requirement)


def of_errors(error: RejectedError, outage: UnavailableError) -> None:
    assert_type(error.error, str | None)
    assert_type(error.description, str)
    assert_type(outage.retry_after, int)


# -- decorators keep the type of what they decorate --


@starlette.require_scope("orders:read")
async def on_starlette(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


@starlette.require(Role("admin"))
def in_a_thread(_request: Request, _number: int = 0) -> Response:
    return PlainTextResponse("")


@django.require("orders:read", Role("admin"))
def on_django(request: HttpRequest, number: int) -> HttpResponse:
    return HttpResponse(str(number))


assert_type(on_django(HttpRequest(), 1), HttpResponse)


@flask.require_scope("orders:read", optional=True)
def on_flask(order: int) -> dict[str, int]:
    return {"order": order}


@flask.require(Scope("a") | Role("b"))
async def async_on_flask() -> flask_library.Response:
    return flask_library.Response()


async def of_decorated(request: Request) -> None:
    assert_type(await on_starlette(request), PlainTextResponse)
    assert_type(in_a_thread(request, 1), Response)
    assert_type(on_flask(order=1), dict[str, int])
    assert_type(await async_on_flask(), flask_library.Response)
    assert_type(flask.current_token, AccessToken)


# -- the dependency of FastAPI --

bearer = BearerToken(validator)
assert_type(bearer.require(Scope("a")), Callable[..., Awaitable[AccessToken]])


async def of_the_dependency(call: Any) -> None:
    assert_type(await bearer(call, call, call), AccessToken | None)


# -- outbound --


async def of_a_source(source: TokenSource) -> None:
    assert_type(source.token(scope="a"), IssuedToken)
    assert_type(await source.token_async(), IssuedToken)


# -- MCP --

verifier: McpTokenVerifier = TokenVerifier(validator, resource="https://api.example.com/mcp")
provider = TokenGuardProvider(validator, base_url="https://api.example.com", required_scopes=["orders:read"])
mcp_server: FastMCP[Any] = FastMCP("orders", auth=provider)


async def of_mcp() -> None:
    assert_type(await verifier.verify_token("x"), McpAccessToken | None)
    assert_type(await provider.verify_token("x"), FastMcpAccessToken | None)


# -- routes, and middleware that observes --


async def app(scope: Any, receive: Any, send: Any) -> None: ...


def seen(verdict: Verdict) -> None:
    assert_type(verdict.reason, str | None)
    assert_type(verdict.disagrees, bool)


observing = ObservingAsgiMiddleware(app, validator, scope="orders:read", on_verdict=seen)
assert_type(observing.dropped, int)
assert_type(audit(observing), list[Route])
