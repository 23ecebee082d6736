"""What an ASGI scope says: its readers, for every adapter that is given scopes.

Owns: the only code that reads an ASGI scope. Must not know: any framework, what makes a credential or a token good,
answers, observers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

from tokenguard._adapters.own_field import checked_header, whole_values
from tokenguard._adapters.public_paths import route_path
from tokenguard._adapters.request import IN_A_PATH, LONGEST, MOST_CREDENTIALS, MOST_FIELDS, UNKNOWN, der_of_leaf
from tokenguard._oauth.credential import PREFIX
from tokenguard._settings import is_field_name
from tokenguard.errors import ConfigurationError

_AUTHORIZATION: Final = b"authorization"
_BEARER: Final = PREFIX.encode()
_SUBPROTOCOLS: Final = b"sec-websocket-protocol"


class AsgiReader:
    """Reads ASGI `http` and `websocket` scopes."""

    __slots__ = ("_length", "_name")

    takes_schemes = True  # else the field holds a token alone

    def __init__(self) -> None:
        self._name = _AUTHORIZATION
        self._length = len(self._name)

    def credentials(self, scope: Mapping[str, Any], /) -> tuple[Sequence[bytes], str]:
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
        """The method; a websocket handshake is a GET (RFC 6455 section 4.1), also by HTTP/2, whose CONNECT is the
        server's (RFC 8441 section 5)."""
        return "GET" if scope.get("type") == "websocket" else str(scope.get("method", "GET"))

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

    def fields(self, scope: Mapping[str, Any], name: str, /) -> list[str]:
        """See `Reader`."""
        wanted = name.lower().encode("latin-1")
        return [str(value, "latin-1") for field, value in scope.get("headers") or () if field.lower() == wanted]

    def certificate(self, scope: Mapping[str, Any], /) -> bytes | None:
        """See `Reader`. By the TLS extension of ASGI: PEM, the leaf first; a server may give it as DER."""
        tls = (scope.get("extensions") or {}).get("tls") or {}
        for leaf in tls.get("client_cert_chain") or ():
            return der_of_leaf(leaf)
        return None

    def kept(self, scope: Mapping[str, Any], key: str, /) -> Any:
        """See `Reader`."""
        return scope.get(key)

    def keep(self, scope: Any, key: str, value: object, /) -> None:
        """See `Reader`."""
        scope[key] = value

    def address(self, scope: Mapping[str, Any], /) -> str | None:
        """See `Reader`. uvicorn reports no client where the peer has reset its connection, and still serves the
        request: that of a port is unknown, and no unix socket."""
        client = scope.get("client")
        if client:
            return str(client[0])
        return UNKNOWN if _is_port(scope.get("server")) else None

    def sent(self, scope: Mapping[str, Any], longest: int, /) -> str:
        """See `Reader`."""
        values, _ = self.credentials({"headers": _first_fields(scope)})
        return b",".join([value[:longest] for value in values[:MOST_CREDENTIALS]]).decode("latin-1")


class AsgiFieldReader(AsgiReader):
    """The same where a field of its own holds the token and nothing else; the query decides nothing then."""

    __slots__ = ()
    takes_schemes = False

    def __init__(self, field: str) -> None:
        self._name = field.lower().encode()
        self._length = len(self._name)

    def credentials(self, scope: Mapping[str, Any], /) -> tuple[Sequence[bytes], str]:
        """See `Reader`."""
        return whole_values(super().credentials(scope)[0]), ""


class SubprotocolReader(AsgiReader):
    """The same where a websocket may offer the token behind a subprotocol, as browsers can send nothing else."""

    __slots__ = ("_inner", "subprotocol", "takes_schemes")

    def __init__(self, inner: AsgiReader, subprotocol: str) -> None:
        if not is_field_name(subprotocol):
            raise ConfigurationError('subprotocol must be the name of one subprotocol, such as "bearer"')
        self._inner = inner
        self.takes_schemes = inner.takes_schemes
        self.subprotocol = subprotocol

    def credentials(self, scope: Mapping[str, Any], /) -> tuple[Sequence[bytes], str]:
        """See `Reader`. The name twice, or beside another credential, counts as several."""
        values, query = self._inner.credentials(scope)
        if not self.is_offered(scope):
            return values, query
        offered = list(scope["subprotocols"])
        if values or offered.count(self.subprotocol) > 1:
            return (_BEARER, _BEARER), query
        behind = offered[offered.index(self.subprotocol) + 1 :]
        return (_BEARER + "".join(behind[:1]).encode("latin-1", "replace"),), query

    def sent(self, scope: Mapping[str, Any], longest: int, /) -> str:
        """See `Reader`."""
        if not self.is_offered(scope):
            return self._inner.sent(scope, longest)
        values, _ = self.credentials(scope)
        return b",".join([value[:longest] for value in values]).decode("latin-1")

    def is_offered(self, scope: Mapping[str, Any]) -> bool:
        """Whether a websocket offers the subprotocol that a token follows."""
        return scope["type"] == "websocket" and self.subprotocol in (scope.get("subprotocols") or ())

    def without_token(self, scope: Mapping[str, Any]) -> dict[str, Any]:
        """The parts of an accepted scope that change where the token is taken out: applications log these, and send
        them back."""
        offered = list(scope["subprotocols"])
        at = offered.index(self.subprotocol)
        token = offered[at + 1]
        del offered[at]
        offered = [one for one in offered if one != token]  # wherever it stands
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != _SUBPROTOCOLS]
        if offered:
            headers.append((_SUBPROTOCOLS, ", ".join(offered).encode("latin-1", "replace")))
        return {"subprotocols": offered, "headers": headers}


def asgi_reader(header: str | None) -> AsgiReader:
    """The reader for a setting `header`. Raises `ConfigurationError` as `checked_header` does."""
    return AsgiReader() if header is None else AsgiFieldReader(checked_header(header))


def plainly_sent(scope: Mapping[str, Any]) -> bytes:
    """The `raw_path` of a request to a public path, with nothing encoded that need not be. What a server puts before
    `scope["path"]` stays as it is."""
    path: str = scope["path"]
    before = scope["raw_path"].partition(b"?")[0].rsplit(b"/", path.count("/"))[0]
    return bytes(before + quote(path, safe=IN_A_PATH, errors="surrogatepass").encode("ascii"))


def takes_denials(scope: Mapping[str, Any]) -> bool:
    """Whether a websocket can be rejected by a whole response: ASGI's WebSocket Denial Response extension."""
    return "websocket.http.response" in (scope.get("extensions") or ())


def _is_port(server: Any) -> bool:
    """Whether `server` of a scope is a port of an address. A unix socket has none (ASGI: a path and None)."""
    if not server or server[1] is None:
        return False
    from ipaddress import ip_address

    try:
        ip_address(server[0])
    except ValueError:  # a name, as tests have it: sockets report addresses
        return False
    return True


def _first_fields(scope: Mapping[str, Any]) -> Iterable[tuple[bytes, bytes]]:
    fields: Iterable[tuple[bytes, bytes]] = scope.get("headers") or ()
    return islice(fields, MOST_FIELDS)
