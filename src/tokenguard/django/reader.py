"""How a Django request is read, under WSGI and under ASGI.

Owns: where in an `HttpRequest` each fact is read. Must not know: Django's settings, what makes a credential good.

`META` is the environ under WSGI. Under ASGI Django makes it, joins repeated fields, and leaves out the certificate and
the path as sent: there the scope is read. The test client of django-ninja keeps the case of field names in it, which no
server does. Django decodes the path and may change it (`FORCE_SCRIPT_NAME`); so the path is Django's own, which its
router routes by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django.http import HttpRequest

from tokenguard._adapters.asgi_scopes import asgi_reader
from tokenguard._adapters.request import Reader
from tokenguard._adapters.wsgi_environs import wsgi_reader

_METHOD: Final = "REQUEST_METHOD"  # in every environ (PEP 3333)


class HttpRequestReader:
    """Reads `HttpRequest`. `header`: the field that holds the token, None for `Authorization`."""

    __slots__ = ("_asgi", "_wsgi", "takes_schemes")

    def __init__(self, header: str | None) -> None:
        self._wsgi, self._asgi = wsgi_reader(header), asgi_reader(header)
        self.takes_schemes = self._wsgi.takes_schemes

    def credentials(self, request: HttpRequest, /) -> tuple[Sequence[bytes], str]:
        """See `Reader`."""
        scope = getattr(request, "scope", None)
        if scope is None:
            found = self._wsgi.credentials(request.META)
            return found if found[0] or _METHOD in request.META else self._wsgi.credentials(_in_capitals(request.META))
        values, _ = self._asgi.credentials({"headers": scope["headers"]})
        return values, request.META["QUERY_STRING"] if self.takes_schemes else ""

    def route(self, request: HttpRequest, /) -> tuple[str, str]:
        """See `Reader`."""
        scope = getattr(request, "scope", None)
        if scope is None:
            return request.path_info, self._wsgi.route(request.META)[1]
        sent: bytes = scope.get("raw_path") or b""  # some servers leave it out
        return request.path_info, sent.decode("latin-1")

    def method(self, request: HttpRequest, /) -> str:
        """See `Reader`."""
        return request.method or ""

    def path(self, request: HttpRequest, /, longest: int | None = None) -> str:
        """See `Reader`."""
        scope = getattr(request, "scope", None)
        return request.path[:longest] if scope is None else self._asgi.path(scope, longest)

    def header(self, request: HttpRequest, name: str, /) -> str | None:
        """See `Reader`."""
        reader, source = self._read_side(request)
        return reader.header(source, name)

    def headers(self, request: HttpRequest, /) -> Iterable[tuple[str, str]]:
        """See `Reader`."""
        reader, source = self._read_side(request)
        return reader.headers(source)

    def fields(self, request: HttpRequest, name: str, /) -> list[str]:
        """See `Reader`."""
        reader, source = self._read_side(request)
        return reader.fields(source, name)

    def certificate(self, request: HttpRequest, /) -> bytes | None:
        """See `Reader`."""
        reader, source = self._read_side(request)
        return reader.certificate(source)

    def address(self, request: HttpRequest, /) -> str | None:
        """See `Reader`."""
        reader, source = self._read_side(request)
        return reader.address(source)

    def sent(self, request: HttpRequest, longest: int, /) -> str:
        """See `Reader`."""
        reader, source = self._read_side(request)
        return reader.sent(source, longest)

    def kept(self, request: HttpRequest, key: str, /) -> Any:
        """See `Reader`."""
        reader, source = self._side(request)
        return reader.kept(source, key)

    def keep(self, request: HttpRequest, key: str, value: object, /) -> None:
        """See `Reader`."""
        reader, source = self._side(request)
        reader.keep(source, key, value)

    def _side(self, request: HttpRequest) -> tuple[Reader[Any], Any]:
        scope = getattr(request, "scope", None)
        return (self._wsgi, request.META) if scope is None else (self._asgi, scope)

    def _read_side(self, request: HttpRequest) -> tuple[Reader[Any], Any]:
        reader, source = self._side(request)
        return reader, _in_capitals(source) if reader is self._wsgi and _METHOD not in source else source


def _in_capitals(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {name.upper(): value for name, value in meta.items()}
