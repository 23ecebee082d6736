"""What an aiohttp request says: its readers, for the middleware and the decorator.

Owns: the only code that reads an aiohttp request. Must not know: aiohttp by import, what makes a credential or a token
good, answers, observers.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import islice
from typing import Any

from tokenguard._adapters.own_field import checked_header, whole_values
from tokenguard._adapters.request import LONGEST, MOST_CREDENTIALS, MOST_FIELDS, UNKNOWN

_KNOWN_KEYS = set[str]()  # of a request, ours only: few


class AiohttpReader:
    """Reads aiohttp's requests: header fields and target as they were sent."""

    __slots__ = ("_name",)
    takes_schemes = True

    def __init__(self, field: str = "Authorization") -> None:
        self._name = field.lower().encode()

    def credentials(self, request: Any, /) -> tuple[Sequence[bytes], str]:
        """See `Reader`."""
        wanted = self._name
        values = [value for name, value in request.raw_headers if len(name) == len(wanted) and name.lower() == wanted]
        return values, request.rel_url.raw_query_string

    def route(self, request: Any, /) -> tuple[str, str] | None:
        """See `Reader`. A handshake of a websocket is never public."""
        if any("websocket" in value.lower() for value in self.fields(request, "Upgrade")):
            return None
        return request.path, request.raw_path

    def method(self, request: Any, /) -> str:
        """See `Reader`."""
        return str(request.method)

    def path(self, request: Any, /, longest: int | None = None) -> str:
        """See `Reader`. That of a sub-application holds its prefix."""
        return str(request.path)[:longest]

    def header(self, request: Any, name: str, /) -> str | None:
        """See `Reader`."""
        wanted = name.lower().encode("latin-1")
        for field, value in islice(request.raw_headers, MOST_FIELDS):
            if field.lower() == wanted:
                return str(value[:LONGEST], "latin-1")
        return None

    def headers(self, request: Any, /) -> list[tuple[str, str]]:
        """See `Reader`."""
        return [(str(name, "latin-1").lower(), str(value, "latin-1")) for name, value in request.raw_headers]

    def fields(self, request: Any, name: str, /) -> list[str]:
        """See `Reader`."""
        wanted = name.lower().encode("latin-1")
        return [str(value, "latin-1") for field, value in request.raw_headers if field.lower() == wanted]

    def certificate(self, request: Any, /) -> bytes | None:
        """See `Reader`."""
        connection = _of_connection(request, "ssl_object")
        found: bytes | None = None if connection is None else connection.getpeercert(binary_form=True)
        return found

    def kept(self, request: Any, key: str, /) -> Any:
        """See `Reader`."""
        return request.get(key)

    def keep(self, request: Any, key: str, value: object, /) -> None:
        """See `Reader`. aiohttp warns of a key that is a text, once for each: the text is what callers rely on."""
        if key in _KNOWN_KEYS:
            request[key] = value
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            request[key] = value
        _KNOWN_KEYS.add(key)

    def address(self, request: Any, /) -> str | None:
        """See `Reader`: the connection's own peer, also where `request.remote` was replaced. That of a connection that
        has ended is unknown, and no unix socket."""
        peer = _of_connection(request, "peername")
        if isinstance(peer, tuple):
            return str(peer[0])
        # A unix socket has a path, or none; a socket that was closed before its peer was asked for has None.
        return None if isinstance(peer, str | bytes) else UNKNOWN

    def sent(self, request: Any, longest: int, /) -> str:
        """See `Reader`."""
        fields = islice(request.raw_headers, MOST_FIELDS)
        values = [value[:longest] for name, value in fields if name.lower() == self._name]
        return b",".join(values[:MOST_CREDENTIALS]).decode("latin-1")


class AiohttpFieldReader(AiohttpReader):
    """The same where a field of its own holds the token and nothing else; the query decides nothing then."""

    __slots__ = ()
    takes_schemes = False

    def credentials(self, request: Any, /) -> tuple[Sequence[bytes], str]:
        """See `Reader`."""
        return whole_values(super().credentials(request)[0]), ""


def _of_connection(request: Any, name: str) -> Any:
    """None once it has ended. Not by `get_extra_info` of the request: those that aiohttp makes for tests have none."""
    transport = request.transport
    return None if transport is None else transport.get_extra_info(name)


def aiohttp_reader(header: str | None) -> AiohttpReader:
    """The reader for a setting `header`. Raises `ConfigurationError` as `checked_header` does."""
    return AiohttpReader() if header is None else AiohttpFieldReader(checked_header(header))
