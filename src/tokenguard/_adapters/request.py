"""What a request says: one reader for each protocol, which every adapter of that protocol uses.

Owns: the only code that reads an ASGI scope or a WSGI environ. Must not know: what makes a credential or a token good,
answers, observers.

A reader has no state but the name of the field that holds the token, so nothing is made for a request. An adapter for
another protocol writes a `Reader` for whatever stands for a request there, and gives it to its `Guard`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from tokenguard._adapters.public_paths import route_path

__all__ = ["AsgiReader", "Described", "Reader", "WsgiReader", "takes_denials"]

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)

# For records: more than any record shows, and no more work, whatever a client sends. Few servers let more than 100
# fields through (gunicorn, Apache httpd).
LONGEST = 16_384
MOST_FIELDS = 128
_MOST_CREDENTIALS = 4

_AUTHORIZATION = "Authorization"
_FIELDS_WITHOUT_PREFIX = ("CONTENT_TYPE", "CONTENT_LENGTH")  # PEP 3333
# The path as it was sent is no part of WSGI; servers that give it use one of these names.
_SENT_PATHS = ("RAW_URI", "REQUEST_URI")


class Reader(Protocol[R_contra]):
    """How an adapter's requests are read. Only `credentials` is called for every request."""

    def credentials(self, request: R_contra, /) -> tuple[Sequence[bytes], str]:
        """The value of every field that may hold the credential, and the raw query."""
        ...

    def route(self, request: R_contra, /) -> tuple[str, str] | None:
        """The decoded path that the router routes by, and the path as sent ("" where the server does not give it).

        None for a request that is never public.
        """
        ...

    def method(self, request: R_contra, /) -> str:
        """The method."""
        ...

    def path(self, request: R_contra, /, longest: int | None = None) -> str:
        """The decoded path without the query, the prefix that the app is mounted at included. `longest`: how much of
        it is enough."""
        ...

    def header(self, request: R_contra, name: str, /) -> str | None:
        """The first field of this name, None where there is none. At most `LONGEST` of it, among `MOST_FIELDS`."""
        ...

    def address(self, request: R_contra, /) -> str | None:
        """The caller's address as the server reports it, None where it does not."""
        ...

    def sent(self, request: R_contra, longest: int, /) -> str:
        """The fields that may hold the credential, joined by commas, "" where there is none: for records, so with at
        most `longest` octets of each, among `MOST_FIELDS`."""
        ...

    def headers(self, request: R_contra, /) -> Iterable[tuple[str, str]]:
        """Every field, its name in lower case."""
        ...


class AsgiReader:
    """Reads ASGI `http` and `websocket` scopes."""

    __slots__ = ("_length", "_name")

    def __init__(self) -> None:
        self._name = _AUTHORIZATION.lower().encode()
        self._length = len(self._name)

    def credentials(self, scope: Mapping[str, Any], /) -> tuple[list[bytes], str]:
        """See `Reader`."""
        values: list[bytes] = []  # by a loop: a comprehension is one call more
        wanted, length = self._name, self._length
        for name, value in scope.get("headers") or ():
            if len(name) == length and name.lower() == wanted:
                values.append(value)
        query: bytes | None = scope.get("query_string")
        return values, query.decode("latin-1") if query else ""

    def route(self, scope: Mapping[str, Any], /) -> tuple[str, str] | None:
        """See `Reader`. A websocket is never public."""
        if scope["type"] != "http":
            return None
        sent: bytes = scope.get("raw_path") or b""  # some servers leave it out
        return route_path(scope["path"], scope.get("root_path") or ""), sent.decode("latin-1")

    def method(self, scope: Mapping[str, Any], /) -> str:
        """The method; a websocket handshake is a GET (RFC 6455 section 4.1)."""
        return str(scope.get("method", "GET"))

    def path(self, scope: Mapping[str, Any], /, longest: int | None = None) -> str:
        """See `Reader`. Some frameworks and servers leave the prefix off the path."""
        path, root = str(scope.get("path", ""))[:longest], str(scope.get("root_path") or "").rstrip("/")
        return path if path == root or path.startswith(f"{root}/") else f"{root}{path}"

    def header(self, scope: Mapping[str, Any], name: str, /) -> str | None:
        """See `Reader`."""
        wanted = name.lower().encode("latin-1")
        for field, value in _first_fields(scope):
            if len(field) == len(wanted) and field.lower() == wanted:
                return str(value[:LONGEST], "latin-1")
        return None

    def headers(self, scope: Mapping[str, Any], /) -> list[tuple[str, str]]:
        """See `Reader`."""
        return [(str(name, "latin-1").lower(), str(value, "latin-1")) for name, value in scope.get("headers") or ()]

    def address(self, scope: Mapping[str, Any], /) -> str | None:
        """See `Reader`."""
        client = scope.get("client")
        return str(client[0]) if client else None

    def sent(self, scope: Mapping[str, Any], longest: int, /) -> str:
        """See `Reader`."""
        values, _ = self.credentials({"headers": _first_fields(scope)})
        return b",".join([value[:longest] for value in values[:_MOST_CREDENTIALS]]).decode("latin-1")


class WsgiReader:
    """Reads WSGI environs (PEP 3333). A server has joined repeated fields by commas."""

    __slots__ = ("_key",)

    def __init__(self) -> None:
        self._key = _variable(_AUTHORIZATION)

    def credentials(self, environ: Mapping[str, Any], /) -> tuple[Sequence[bytes], str]:
        """See `Reader`."""
        value: str | None = environ.get(self._key)
        if value is None:
            return (), ""
        return (value.encode("latin-1", "replace"),), environ.get("QUERY_STRING") or ""

    def route(self, environ: Mapping[str, Any], /) -> tuple[str, str]:
        """See `Reader`."""
        # Every name counts: one of them is enough to close the path, and nothing that the client sends opens it.
        sent = [str(environ.get(name, "")).partition("?")[0] for name in _SENT_PATHS]
        return environ.get("PATH_INFO", ""), " ".join(sent)

    def method(self, environ: Mapping[str, Any], /) -> str:
        """See `Reader`."""
        return str(environ.get("REQUEST_METHOD", ""))

    def path(self, environ: Mapping[str, Any], /, longest: int | None = None) -> str:
        """See `Reader`."""
        path = f"{str(environ.get('SCRIPT_NAME', ''))[:longest]}{str(environ.get('PATH_INFO', ''))[:longest]}"
        return path.encode("latin-1", "replace").decode("utf-8", "replace")

    def header(self, environ: Mapping[str, Any], name: str, /) -> str | None:
        """See `Reader`."""
        value = environ.get(_variable(name))
        return None if value is None else str(value)[:LONGEST]

    def address(self, environ: Mapping[str, Any], /) -> str | None:
        """See `Reader`."""
        address = environ.get("REMOTE_ADDR")
        return str(address) if address else None

    def sent(self, environ: Mapping[str, Any], longest: int, /) -> str:
        """See `Reader`."""
        return str(environ.get(self._key) or "")[:longest]

    def headers(self, environ: Mapping[str, Any], /) -> list[tuple[str, str]]:
        """See `Reader`."""
        return [
            (name.removeprefix("HTTP_").replace("_", "-").lower(), str(value))
            for name, value in environ.items()
            if name.startswith("HTTP_") or name in _FIELDS_WITHOUT_PREFIX
        ]


def takes_denials(scope: Mapping[str, Any]) -> bool:
    """Whether a websocket can be rejected by a whole response: ASGI's WebSocket Denial Response extension."""
    return "websocket.http.response" in (scope.get("extensions") or ())


def _first_fields(scope: Mapping[str, Any]) -> Iterable[tuple[bytes, bytes]]:
    fields: Iterable[tuple[bytes, bytes]] = scope.get("headers") or ()
    return islice(fields, MOST_FIELDS)


def _variable(field: str) -> str:
    return f"HTTP_{field.upper().replace('-', '_')}"


class Described(Generic[R]):
    """A request as observers see it: method, path without query, single fields, the caller's address."""

    __slots__ = ("_reader", "_request")

    def __init__(self, reader: Reader[R], request: R) -> None:
        self._reader = reader
        self._request = request

    @property
    def method(self) -> str:
        """The method."""
        return self._reader.method(self._request)

    @property
    def path(self) -> str:
        """The decoded path, at most `LONGEST` of it."""
        return self._reader.path(self._request, LONGEST)

    def header(self, name: str) -> str | None:
        """The first field of this name."""
        return self._reader.header(self._request, name)

    @property
    def address(self) -> str | None:
        """The caller's address as the server reports it, None where it does not."""
        return self._reader.address(self._request)
