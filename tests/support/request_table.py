"""One table of requests for every adapter: rows are requests, columns are the adapters' ways into an application.

An adapter adds its columns by a module in `tests/support/adapter_columns/` that has
``columns(validator, scopes, requirement, settings) -> dict[str, Column]``; nothing else names it. Every test that
drives the table (rejections, requirements, vectors, audit, telemetry, leaks) then drives that adapter, too.
"""

from __future__ import annotations

import asyncio
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import adapter_columns
from raw_requests import Answer, Fields, ask, ask_wsgi, connect

from tokenguard.challenge import reject
from tokenguard.errors import (
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    MissingTokenError,
    Reason,
    TokenGuardError,
)
from tokenguard.testing import Clock, FakeIssuer

SCOPE = ("orders:read", "orders:write")
METHODS = ("GET", "HEAD", "OPTIONS", "POST")
SETTINGS = {"realm": "orders", "resource_metadata": "https://api.example.com/.well-known/oauth-protected-resource"}

ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()


# -- columns -----------------------------------------------------------------------------------------------------------


def over_http(error: TokenGuardError, method: str, **settings: Any) -> tuple[object, ...]:
    """What must be seen of a rejection: `Answer.verdict`."""
    status, headers, body = reject(error, **settings)
    written = [(name.lower(), value) for name, value in headers]
    return Answer(status, written, b"" if method == "HEAD" else body).verdict


def over_websocket(error: TokenGuardError, method: str, **settings: Any) -> tuple[object, ...]:  # always a GET
    return over_http(error, "GET", **settings)


@dataclass(frozen=True)
class Column:
    """One way into an application that an adapter protects.

    - `ask`: method, query and header fields of a request -> its answer.
    - `adapters`: which adapters validate such a request, one after the other, as the audit and the metrics name them.
    - `path`: the whole path that `ask` asks for.
    - `accepted`: the status of a request with a good token.
    - `methods`: those that the adapter answers; the framework answers the others itself.
    - `cannot`: rows that this protocol cannot express, each with its reason.
    - `is_http`: any header field and query can be sent, and the answer is HTTP's. Only these get the vectors.
    - `joins_fields`: the server gives the adapter a repeated field as one, joined by commas (PEP 3333).
    - `lists_scope`: a 401 lists what the route would ask for, as it does beside a `ResourceMetadata`.
    - `names_metadata`: `resource_metadata` is a setting of the adapter.
    - `validations`: how often the token of a good request is validated: more than once where a framework asks anew.
    - `expected`: error, method and settings -> what `Answer.verdict` must be.
    """

    ask: Callable[[str, str, Fields], Answer]
    adapters: tuple[str, ...]
    path: str = "/"
    accepted: int = 200
    methods: Sequence[str] = METHODS
    cannot: Mapping[str, str] = field(default_factory=dict)
    is_http: bool = True
    joins_fields: bool = False
    validations: int = 1
    lists_scope: bool = False
    names_metadata: bool = True
    expected: Callable[..., tuple[object, ...]] = over_http


def by_asgi(app: Any, adapters: tuple[str, ...], path: str = "/", **more: Any) -> Column:
    return Column(lambda m, query, fields: asyncio.run(ask(app, m, path, query, fields)), adapters, path, **more)


def by_wsgi(app: Any, adapters: tuple[str, ...], path: str = "/", **more: Any) -> Column:
    return Column(
        lambda m, query, fields: ask_wsgi(app, m, path, query, fields), adapters, path, joins_fields=True, **more
    )


def by_websocket(app: Any, adapters: tuple[str, ...], path: str = "/socket", **more: Any) -> Column:
    return Column(
        lambda _, query, fields: asyncio.run(connect(app, path, query, fields)),
        adapters,
        path,
        accepted=101,
        expected=over_websocket,
        **more,
    )


def columns(
    validator: Any, scopes: Sequence[str] = SCOPE, requirement: Any = None, settings: Mapping[str, Any] = SETTINGS
) -> dict[str, Column]:
    """Every adapter's columns, for routes that ask for all of `scopes`, or for `requirement` where one is given."""
    found: dict[str, Column] = {}
    for module in sorted(module.name for module in pkgutil.iter_modules(adapter_columns.__path__)):
        made = import_module(f"adapter_columns.{module}").columns(validator, scopes, requirement, dict(settings))
        assert not found.keys() & made.keys()
        found.update(made)
    return found


# -- applications that columns share -----------------------------------------------------------------------------------


async def plain_asgi(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"reached"})


def plain_wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"reached"]


# -- rows --------------------------------------------------------------------------------------------------------------


def bearer(token: str) -> Fields:
    return [("Authorization", f"Bearer {token}".encode())]


GOOD = ISSUER.mint(" ".join(SCOPE))
MALFORMED = InvalidRequestError()
MULTIPLE = InvalidRequestError(reason=Reason.MULTIPLE)
MISSING = MissingTokenError()
TOO_LITTLE = InsufficientScopeError(SCOPE)

# name: (query, header fields, the error that must come of it)
REQUESTS: dict[str, tuple[str, Fields, TokenGuardError]] = {
    "no header": ("", (), MISSING),
    "no header, token in the query": (f"access_token={GOOD}", (), MISSING),
    "empty header": ("", [("Authorization", "")], MISSING),
    "another scheme": ("", [("Authorization", "Basic dTpw")], MISSING),
    "another scheme, token in the query": ("access_token=x", [("Authorization", "Basic dTpw")], MULTIPLE),
    "a longer scheme": ("", [("Authorization", f"Bearers {GOOD}")], MISSING),
    "the token alone": ("", [("Authorization", GOOD)], MISSING),
    "other headers": ("", [("X-Authorization", f"Bearer {GOOD}"), ("Cookie", f"access_token={GOOD}")], MISSING),
    "the scheme alone": ("", [("Authorization", "Bearer")], MALFORMED),
    "the scheme and a space": ("", [("Authorization", "Bearer ")], MALFORMED),
    "two tokens": ("", [("Authorization", f"Bearer {GOOD} {GOOD}")], MALFORMED),
    "a tab": ("", [("Authorization", f"Bearer\t{GOOD}")], MALFORMED),
    "a no-break space": ("", [("Authorization", f"Bearer\xa0{GOOD}")], MALFORMED),
    "a line break": ("", [("Authorization", f"Bearer {GOOD}\r\nX: y")], MALFORMED),
    "a trailing no-break space": ("", [("Authorization", f"Bearer {GOOD}\xa0")], MALFORMED),
    "quotes": ("", [("Authorization", f'Bearer "{GOOD}"')], MALFORMED),
    "NUL": ("", [("Authorization", f"Bearer {GOOD}\x00")], MALFORMED),
    "octets above 127": ("", [("Authorization", b"Bearer \xff\xfe")], MALFORMED),
    "a comma": ("", [("Authorization", f"Bearer {GOOD},")], MALFORMED),
    "the same header twice": ("", [*bearer(GOOD), *bearer(GOOD)], MULTIPLE),
    "two schemes": ("", [("Authorization", "Basic dTpw"), *bearer(GOOD)], MULTIPLE),
    "two schemes, ours first": ("", [*bearer(GOOD), ("Authorization", "Basic dTpw")], MULTIPLE),
    "a comma and a second credential": ("", [("Authorization", f"Bearer {GOOD}, Bearer {GOOD}")], MULTIPLE),
    "header and query": ("access_token=x", bearer(GOOD), MULTIPLE),
    "header and encoded query": ("a=b&%61ccess%5ftoken", bearer(GOOD), MULTIPLE),
    "not a token": ("", bearer("x"), InvalidTokenError(reason=Reason.MALFORMED)),
    "no scope": ("", bearer(ISSUER.mint()), TOO_LITTLE),
    "one scope of two": ("", bearer(ISSUER.mint(SCOPE[0])), TOO_LITTLE),
    "scopes in other case": ("", bearer(ISSUER.mint(" ".join(SCOPE).upper())), TOO_LITTLE),
}
TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
for name, bad in ISSUER.bad_tokens().items():
    raised = InvalidTokenError(reason=bad.reason) if TOKEN68.fullmatch(bad.token) else MALFORMED
    REQUESTS[f"bad token: {name}"] = ("", [("Authorization", f"Bearer {bad.token}".encode())], raised)


def check(column: Column, answer: Answer, error: TokenGuardError, method: str = "GET", **more: Any) -> None:
    """The answer of `column` is the rejection that `error` asks for."""
    assert answer.verdict == column.expected(error, method, **SETTINGS, **more)
