"""What a request says: one reader for each protocol, which every adapter of that protocol uses.

Owns: the only code that reads an ASGI scope or a WSGI environ. Must not know: what makes a credential or a token good,
answers, observers.

A reader has no state but the name of the field that holds the token, so nothing is made for a request. An adapter for
another protocol writes a `Reader` for what a request is there, and gives it to its `Guard`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

from tokenguard._adapters.public_paths import route_path
from tokenguard._oauth.certificate import MalformedCertificateError, der_of_pem
from tokenguard._oauth.credential import PREFIX
from tokenguard._settings import TAKEN_FIELDS, is_field_name
from tokenguard.errors import ConfigurationError

__all__ = [
    "AsgiReader",
    "Described",
    "Reader",
    "SubprotocolReader",
    "WsgiReader",
    "asgi_reader",
    "plainly_sent",
    "takes_denials",
    "wsgi_reader",
]

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)

UNKNOWN = "unknown"  # address of a peer that has one, which the server does not know

# For records: more than any record shows, and no more work, whatever a client sends. Few servers let more than 100
# fields through (gunicorn, Apache httpd).
LONGEST = 16_384
MOST_FIELDS = 128
MOST_CREDENTIALS = 4

_AUTHORIZATION = "Authorization"
_FIELDS_WITHOUT_PREFIX = ("CONTENT_TYPE", "CONTENT_LENGTH")  # PEP 3333
_BEARER = PREFIX.encode()
IN_A_PATH = "/:@!$&'()*+,;=~"  # what needs no percent-encoding there (RFC 3986 section 3.3)
_SUBPROTOCOLS = b"sec-websocket-protocol"
# The path as it was sent is no part of WSGI; servers that give it use one of these names.
_SENT_PATHS = ("RAW_URI", "REQUEST_URI")


class Reader(Protocol[R_contra]):
    """How an adapter's requests are read. Only `credentials` is called for every request."""

    @property
    def takes_schemes(self) -> bool:
        """Whether the fields that hold the credential say its scheme, as `Authorization` does."""
        ...

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

    def fields(self, request: R_contra, name: str, /) -> list[str]:
        """The value of every field of this name, whole. A server of WSGI has joined them by commas."""
        ...

    def certificate(self, request: R_contra, /) -> bytes | None:
        """The client's certificate on its connection as DER, None where there is none, or none that can be read."""
        ...

    def kept(self, request: R_contra, key: str, /) -> Any:
        """What `keep` was given, None where it was not."""
        ...

    def keep(self, request: R_contra, key: str, value: object, /) -> None:
        """Keep something with the request."""
        ...


class AsgiReader:
    """Reads ASGI `http` and `websocket` scopes."""

    __slots__ = ("_length", "_name")

    takes_schemes = True  # else the field holds a token alone

    def __init__(self) -> None:
        self._name = _AUTHORIZATION.lower().encode()
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


class WsgiReader:
    """Reads WSGI environs (PEP 3333). A server has joined repeated fields by commas."""

    __slots__ = ("_key",)
    takes_schemes = True

    def __init__(self) -> None:
        self._key = _variable(_AUTHORIZATION)

    def credentials(self, environ: Mapping[str, Any], /) -> tuple[Sequence[bytes], str]:
        """See `Reader`."""
        value: str | None = environ.get(self._key)
        if value is None:
            return (), ""
        sent = value.encode() if value.isascii() else value.encode("latin-1", "replace")
        return (sent,), environ.get("QUERY_STRING") or ""

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

    def fields(self, environ: Mapping[str, Any], name: str, /) -> list[str]:
        """See `Reader`."""
        value = environ.get(_variable(name))
        return [] if value is None else [str(value)]

    def certificate(self, environ: Mapping[str, Any], /) -> bytes | None:
        """See `Reader`. PEM as Apache httpd, uWSGI and werkzeug give it, else from gunicorn's socket."""
        pem = environ.get("SSL_CLIENT_CERT")
        if pem:
            return der_of_leaf(pem)
        peer = getattr(environ.get("gunicorn.socket"), "getpeercert", None)
        try:
            return None if peer is None else peer(binary_form=True)
        except (OSError, ValueError):  # the connection has ended
            return None

    def kept(self, environ: Mapping[str, Any], key: str, /) -> Any:
        """See `Reader`."""
        return environ.get(key)

    def keep(self, environ: Any, key: str, value: object, /) -> None:
        """See `Reader`."""
        environ[key] = value

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


class WsgiFieldReader(WsgiReader):
    """The same where a field of its own holds the token and nothing else; the query decides nothing then."""

    __slots__ = ()
    takes_schemes = False

    def __init__(self, field: str) -> None:
        self._key = _variable(field)

    def credentials(self, environ: Mapping[str, Any], /) -> tuple[Sequence[bytes], str]:
        """See `Reader`."""
        return whole_values(super().credentials(environ)[0]), ""

    def sent(self, environ: Mapping[str, Any], longest: int, /) -> str:
        """See `Reader`."""
        value = super().sent(environ, longest).strip(" \t")
        return f"{PREFIX}{value}" if value else ""


def asgi_reader(header: str | None) -> AsgiReader:
    """The reader for a setting `header`. Raises `ConfigurationError` as `checked_header` does."""
    return AsgiReader() if header is None else AsgiFieldReader(checked_header(header))


def wsgi_reader(header: str | None) -> WsgiReader:
    """The reader for a setting `header`. Raises `ConfigurationError` as `checked_header` does."""
    return WsgiReader() if header is None else WsgiFieldReader(checked_header(header))


def checked_header(header: str) -> str:
    """The name of a field that a gateway puts the token into.

    Raises `ConfigurationError` where it is no field name, or one whose value means something else.
    """
    if not is_field_name(header):
        raise ConfigurationError('header must be the name of one field, such as "Cf-Access-Jwt-Assertion"')
    if header.lower() in TAKEN_FIELDS or header.lower().startswith("proxy-"):
        raise ConfigurationError(
            "header must not be Authorization, Cookie, DPoP, Host or Proxy-...: leave it out where the token is in"
            " Authorization, else name the gateway's own field"
        )
    return header


def kept_apart(header: str, present: Iterable[str]) -> list[tuple[str, str]]:
    """What an answer needs besides the fields that are `present` where `header` holds the token.

    Caches keep answers to requests with `Authorization` apart by themselves, no others (RFC 9111 section 3.5).
    """
    private = [] if any(name.lower() == "cache-control" for name in present) else [("Cache-Control", "private")]
    return [("Vary", header), *private]


def whole_values(values: Sequence[bytes]) -> Sequence[bytes]:
    """Values of a field that holds a token without a scheme, as credentials. A comma joins two fields (RFC 9110
    section 5.3), an empty field holds none."""
    if len(values) == 1:
        values = values[0].strip(b" \t").split(b",")
        if values == [b""]:
            return []
    return [_BEARER + value for value in values]


def plainly_sent(scope: Mapping[str, Any]) -> bytes:
    """The `raw_path` of a request to a public path, with nothing encoded that need not be. What a server puts before
    `scope["path"]` stays as it is."""
    path: str = scope["path"]
    before = scope["raw_path"].partition(b"?")[0].rsplit(b"/", path.count("/"))[0]
    return bytes(before + quote(path, safe=IN_A_PATH, errors="surrogatepass").encode("ascii"))


def takes_denials(scope: Mapping[str, Any]) -> bool:
    """Whether a websocket can be rejected by a whole response: ASGI's WebSocket Denial Response extension."""
    return "websocket.http.response" in (scope.get("extensions") or ())


def der_of_leaf(certificate: object) -> bytes | None:
    """A certificate that a server gives as PEM or DER, as DER; None for what cannot be read."""
    if isinstance(certificate, bytes) and not certificate.startswith(b"-----"):
        return certificate or None
    text = certificate.decode("latin-1") if isinstance(certificate, bytes) else certificate
    try:
        return der_of_pem(text) if isinstance(text, str) else None
    except MalformedCertificateError:
        return None


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
