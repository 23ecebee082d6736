"""What a guard reads of a request, whatever its protocol.

Owns: `Reader`, `Described`, the bounds of what is read for records. Must not know: any protocol, what makes a
credential or a token good, answers, observers.

There is one reader for each protocol, which every adapter of that protocol uses: `asgi_scopes`, `wsgi_environs`,
`aiohttp_requests`, `litestar_scopes`, `calls` (gRPC), `bare_token`; Django's is in `tokenguard.django`. A reader has no
state but the name of the field that holds the token, so nothing is made for a request. An adapter for another protocol
writes a `Reader` for what a request is there, and gives it to its `Guard`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from tokenguard._oauth.certificate import MalformedCertificateError, der_of_pem

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)

UNKNOWN = "unknown"  # address of a peer that has one, which the server does not know

# For records: more than any record shows, and no more work, whatever a client sends. Few servers let more than 100
# fields through (gunicorn, Apache httpd).
LONGEST = 16_384
MOST_FIELDS = 128
MOST_CREDENTIALS = 4

IN_A_PATH = "/:@!$&'()*+,;=~"  # what needs no percent-encoding there (RFC 3986 section 3.3)


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
        """The peer's address as the server reports it, None where it has none: a unix socket. `UNKNOWN` where the
        server does not say."""
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


def der_of_leaf(certificate: object) -> bytes | None:
    """A certificate that a server gives as PEM or DER, as DER; None for what cannot be read."""
    if isinstance(certificate, bytes) and not certificate.startswith(b"-----"):
        return certificate or None
    text = certificate.decode("latin-1") if isinstance(certificate, bytes) else certificate
    try:
        return der_of_pem(text) if isinstance(text, str) else None
    except MalformedCertificateError:
        return None


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
        address = self._reader.address(self._request)
        return None if address == UNKNOWN else address
