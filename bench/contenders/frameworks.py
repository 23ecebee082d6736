"""Whole requests, in process: apps of three frameworks, unprotected and behind each kind of guard.

`app` builds them; the same apps run behind real servers in `servers.py`.
"""

from __future__ import annotations

import io
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import jwt
from contest import Sample, Setup, contender, going_round, loop
from corpus import AUDIENCE, ISSUER
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from contenders.ours import validator

FRAMEWORKS = ("starlette", "fastapi", "flask")
GUARDS = {
    "starlette": ("none", "nothing", "tokenguard", "pyjwt", "bare"),
    "fastapi": ("none", "tokenguard", "pyjwt", "bare"),
    "flask": ("none", "tokenguard", "pyjwt", "bare"),
}
PATH = "/orders"
App = Any


def app(framework: str, guard: str, setup: Setup) -> App:
    """One route that answers `ok`, guarded for `orders:read`."""
    build: Callable[[str, Setup], App] = {"starlette": _starlette, "fastapi": _fastapi, "flask": _flask}[framework]
    return build(guard, setup)


def _tutorial(setup: Setup) -> Callable[[str], dict[str, Any]]:
    # https://pyjwt.readthedocs.io/en/stable/usage.html#retrieve-rsa-signing-keys-from-a-jwks-endpoint
    client = jwt.PyJWKClient(setup.jwks_uri())

    def check(authorization: str) -> dict[str, Any]:
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer":
            raise PermissionError
        key = client.get_signing_key_from_jwt(token)
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER)
        if "orders:read" not in claims["scope"].split():
            raise PermissionError
        return claims

    return check


def _bare(setup: Setup) -> Callable[[str], object]:
    """What no library can leave out: to verify the signature of each new token."""
    key: Any = jwt.PyJWK(setup.corpus().jwks["keys"][0], "RS256").key
    padded, digest = padding.PKCS1v15(), hashes.SHA256()

    def check(authorization: str) -> None:
        signing_input, _, signature = authorization[len("Bearer ") :].rpartition(".")
        key.verify(urlsafe_b64decode(signature + "=="), signing_input.encode(), padded, digest)

    return check


_CHECKS: dict[str, Callable[[Setup], Callable[[str], object]]] = {"pyjwt": _tutorial, "bare": _bare}


def _starlette(guard: str, setup: Setup) -> App:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def orders(request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    plain: App = Starlette(routes=[Route(PATH, orders)])
    if guard == "nothing":

        async def nothing(scope: Any, receive: Any, send: Any) -> None:
            await plain(scope, receive, send)

        return nothing
    if guard == "tokenguard":
        from tokenguard.asgi import BearerMiddleware

        return BearerMiddleware(plain, validator(setup), scope="orders:read")
    if guard in _CHECKS:
        check = _CHECKS[guard](setup)

        async def checking(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                check(dict(scope["headers"])[b"authorization"].decode("latin-1"))
            await plain(scope, receive, send)

        return checking
    return plain


def _fastapi(guard: str, setup: Setup) -> App:
    from fastapi import Depends, FastAPI, Header, Security
    from fastapi.responses import PlainTextResponse

    from tokenguard import AccessToken

    made = FastAPI()
    dependency: Any
    if guard == "tokenguard":
        from tokenguard.fastapi import BearerToken

        dependency = Security(BearerToken(validator(setup)), scopes=["orders:read"])
        kind: Any = AccessToken
    elif guard in _CHECKS:
        check = _CHECKS[guard](setup)

        async def checked(authorization: Any) -> Any:
            return check(authorization)

        checked.__annotations__["authorization"] = Annotated[str, Header()]
        dependency, kind = Depends(checked), Any
    else:

        async def empty() -> None:
            return None

        dependency, kind = Depends(empty), None

    async def orders(token: Any) -> PlainTextResponse:
        return PlainTextResponse("ok")

    orders.__annotations__["token"] = Annotated[kind, dependency]
    made.get(PATH)(orders)
    return made


def _flask(guard: str, setup: Setup) -> App:
    from flask import Flask, request

    made = Flask("bench")
    if guard == "tokenguard":
        from tokenguard.flask import TokenGuard, require_scope

        TokenGuard(made, validator(setup))

        @made.get(PATH)
        @require_scope("orders:read")
        def guarded() -> str:
            return "ok"

    elif guard in _CHECKS:
        check = _CHECKS[guard](setup)

        @made.get(PATH)
        def checked() -> str:
            check(request.headers["Authorization"])
            return "ok"

    else:

        @made.get(PATH)
        def orders() -> str:
            return "ok"

    return made


# --------------------------------------------------------------------------------------------------- driving them


def _asgi(made: App, tokens: list[str]) -> Sample:
    base = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "state": {},
    }
    ready = [
        {
            **base,
            "headers": [
                (b"host", b"127.0.0.1:8000"),
                (b"accept", b"*/*"),
                (b"user-agent", b"bench"),
                (b"authorization", f"Bearer {token}".encode()),
            ],
        }
        for token in tokens
    ]
    take = going_round(ready)
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            statuses.append(message["status"])

    async def run(batch: list[dict[str, Any]], app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        for scope in batch:
            await app(scope.copy(), receive, send)

    running = loop()

    def sample(count: int) -> None:
        running.run_until_complete(run(take(count), made))
        if statuses:
            raise RuntimeError(f"a request was answered {statuses[0]}")

    return sample


def _wsgi(made: App, tokens: list[str]) -> Sample:
    base = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": PATH,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_ACCEPT": "*/*",
        "HTTP_USER_AGENT": "bench",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    take = going_round([{**base, "HTTP_AUTHORIZATION": f"Bearer {token}"} for token in tokens])
    statuses: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], object]:
        if status != "200 OK":
            statuses.append(status)
        return lambda body: None

    def sample(count: int) -> None:
        for environ in take(count):
            body = made(environ.copy(), start_response)
            for _ in body:
                pass
            close = getattr(body, "close", None)
            if close is not None:
                close()
        if statuses:
            raise RuntimeError(f"a request was answered {statuses[0]}")

    return sample


def _sample(framework: str, guard: str, known: int | None, setup: Setup) -> Sample:
    made, tokens = app(framework, guard, setup), setup.corpus().tokens[:known]
    sample = (_wsgi if framework == "flask" else _asgi)(made, tokens)
    if known is not None:
        sample(known)
    return sample


NAMES = {
    "none": "unprotected",
    "nothing": "a middleware that does nothing",
    "pyjwt": "PyJWT as its documentation says",
    "bare": "bare verify()",
}

for _framework in FRAMEWORKS:
    for _guard in GUARDS[_framework]:
        if _guard == "tokenguard":
            contender(_framework, "tokenguard, remembered")(partial(_sample, _framework, _guard, 50))
            contender(_framework, "tokenguard, new token")(partial(_sample, _framework, _guard, None))
        else:
            contender(_framework, NAMES[_guard])(partial(_sample, _framework, _guard, 50))
    contender(_framework, "unprotected, again")(partial(_sample, _framework, "none", 50))
