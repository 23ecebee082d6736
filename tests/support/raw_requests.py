"""Requests as bytes, straight into ASGI and WSGI apps, and a strict reader of challenges: for the tests of adapters.

No client library stands between: those reject, join or strip the very header fields that the adapters must check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import unquote
from wsgiref.validate import validator as pep3333


@dataclass
class Answer:
    """What came back. `headers` in lower case. `messages` are the raw ASGI messages."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    messages: list[dict[str, Any]] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    @property
    def verdict(self) -> tuple[object, ...]:
        """What must be the same by every adapter."""
        names = ("www-authenticate", "retry-after", "content-type", "content-length", "cache-control")
        return (self.status, *(self.header(name) for name in names), self.body)


Fields = Sequence[tuple[str, str | bytes]]


def _raw(fields: Fields) -> list[tuple[bytes, bytes]]:
    return [(n.lower().encode(), v if isinstance(v, bytes) else v.encode("latin-1")) for n, v in fields]


def http_scope(
    method: str = "GET", path: str = "/", query: str = "", fields: Fields = (), **more: Any
) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(b"host", b"testserver"), *_raw(fields)],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
        **more,
    }


async def ask(
    app: Any, method: str = "GET", path: str = "/", query: str = "", fields: Fields = (), **more: Any
) -> Answer:
    """One HTTP request into an ASGI app."""
    return await ask_scope(app, http_scope(method, path, query, fields, **more))


async def ask_scope(app: Any, scope: dict[str, Any], inbound: Iterable[dict[str, Any]] = ()) -> Answer:
    waiting = list(inbound) or [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(dict(message))

    await app(scope, receive, send)
    return _read(sent, "http.response")


def _read(sent: list[dict[str, Any]], kind: str) -> Answer:
    start = sent[0]
    assert start["type"] == f"{kind}.start", sent
    assert all(message["type"] == f"{kind}.body" for message in sent[1:])
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
    assert all(name == name.lower() for name, _ in headers)
    return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]), sent)


def websocket_scope(
    path: str = "/", query: str = "", fields: Fields = (), *, denial: bool = True, **more: Any
) -> dict[str, Any]:
    scope = http_scope("GET", path, query, fields, **{"type": "websocket", "scheme": "ws", "subprotocols": [], **more})
    del scope["method"]
    extensions = scope.get("extensions", {})
    return {**scope, "extensions": {**extensions, "websocket.http.response": {}} if denial else extensions}


async def connect(
    app: Any, path: str = "/", query: str = "", fields: Fields = (), *, denial: bool = True, **more: Any
) -> Answer:
    """One websocket handshake. An accepted one is status 101, one that is closed has the code as its status."""
    scope = websocket_scope(path, query, fields, denial=denial, **more)
    waiting = [{"type": "websocket.connect"}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "websocket.disconnect", "code": 1005}

    async def send(message: Mapping[str, Any]) -> None:
        assert not waiting, "the server's connect message must be read before anything is sent"
        sent.append(dict(message))

    await app(scope, receive, send)
    if sent and sent[0]["type"] == "websocket.accept":
        return Answer(101, [], b"", sent)
    if sent and sent[0]["type"] == "websocket.close":
        return Answer(sent[0]["code"], [], b"", sent)
    return _read(sent, "websocket.http.response")


def environ(method: str = "GET", path: str = "/", query: str = "", fields: Fields = (), **more: Any) -> dict[str, Any]:
    """PEP 3333: repeated fields are joined by commas."""
    joined: dict[str, str] = {}
    for name, value in fields:
        key = "HTTP_" + name.upper().replace("-", "_")
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        joined[key] = f"{joined[key]},{text}" if key in joined else text
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(path).encode().decode("latin-1"),
        "RAW_URI": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(b""),
        "wsgi.errors": _Errors(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "HTTP_HOST": "testserver",
        **joined,
        **more,
    }


class _Errors:
    def write(self, text: str) -> None: ...
    def writelines(self, lines: Iterable[str]) -> None: ...
    def flush(self) -> None: ...


def ask_wsgi(
    app: Any, method: str = "GET", path: str = "/", query: str = "", fields: Fields = (), **more: Any
) -> Answer:
    """One request into a WSGI app, with wsgiref watching that both keep to PEP 3333."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        started.append((status, headers))
        return lambda data: None

    result = pep3333(app)(environ(method, path, query, fields, **more), start_response)
    try:
        body = b"".join(result)
    finally:
        result.close()
    status, headers = started[-1]
    return Answer(int(status[:3]), [(name.lower(), value) for name, value in headers], body)


_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*"'
_PARAMETER = rf"{_TOKEN}={_QUOTED}"
_CHALLENGE = re.compile(rf"({_TOKEN}) ({_PARAMETER}(?:, {_PARAMETER})*)", re.ASCII)


def challenge(value: str | None) -> dict[str, str]:
    """The parameters of exactly one Bearer challenge (RFC 9110 section 11.6.1); fails on anything else."""
    assert value is not None
    match = _CHALLENGE.fullmatch(value)
    assert match is not None, value
    assert match[1] == "Bearer"
    pairs = [pair.split("=", 1) for pair in re.findall(_PARAMETER, match[2])]
    names = [name for name, _ in pairs]
    assert len(names) == len({name.lower() for name in names})
    return {name: re.sub(r"\\(.)", r"\1", text[1:-1]) for name, text in pairs}
