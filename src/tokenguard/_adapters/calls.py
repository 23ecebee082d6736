"""What a gRPC call says: its reader, which both interceptors use.

Owns: the only code that reads a call's metadata, peer and authentication context. Must not know: gRPC by import, what
makes a credential or a token good, answers, observers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any
from urllib.parse import unquote

from tokenguard._adapters.request import LONGEST, MOST_CREDENTIALS, MOST_FIELDS, der_of_leaf

_AUTHORIZATION = "authorization"  # the keys of metadata are in lower case
_UNIX = ("unix", "unix-abstract")


class Call:
    """One call: the full name of its method, and the context that gRPC gives to the handler."""

    __slots__ = ("context", "method")

    def __init__(self, method: str, context: Any) -> None:
        self.method = method
        self.context = context

    @property
    def metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """What the client sent, keys that are there twice as well. The value of a key that ends in `-bin` is bytes."""
        return self.context.invocation_metadata() or ()


class CallReader:
    """Reads gRPC calls, sync and aio. Nothing is kept with a call: it is validated once, and never by a proof."""

    __slots__ = ()
    takes_schemes = True

    def credentials(self, call: Call, /) -> tuple[Sequence[bytes], str]:
        """See `Reader`. A call has no query."""
        values: list[bytes] = []  # by a loop: a comprehension is one call more
        for name, value in call.context.invocation_metadata() or ():
            if name == _AUTHORIZATION:
                values.append(value if isinstance(value, bytes) else value.encode("latin-1", "replace"))
        return values, ""

    def route(self, _: Call, /) -> None:
        """See `Reader`. Which methods are public is decided by their names, before a call is read."""

    def method(self, _: Call, /) -> str:
        """Each call is a POST (gRPC over HTTP/2)."""
        return "POST"

    def path(self, call: Call, /, longest: int | None = None) -> str:
        """The full name of the method, which is the path of the request."""
        return call.method[:longest]

    def header(self, call: Call, name: str, /) -> str | None:
        """See `Reader`."""
        wanted = name.lower()
        for key, value in islice(call.metadata, MOST_FIELDS):
            if key == wanted:
                return _text(value[:LONGEST])
        return None

    def headers(self, call: Call, /) -> list[tuple[str, str]]:
        """See `Reader`."""
        return [(key, _text(value)) for key, value in call.metadata]

    def fields(self, call: Call, name: str, /) -> list[str]:
        """See `Reader`."""
        wanted = name.lower()
        return [_text(value) for key, value in call.metadata if key == wanted]

    def certificate(self, call: Call, /) -> bytes | None:
        """See `Reader`. TLS credentials of gRPC give it as PEM."""
        for leaf in call.context.auth_context().get("x509_pem_cert") or ():
            return der_of_leaf(leaf)
        return None

    def kept(self, _call: Call, _key: str, /) -> None:
        """See `Reader`."""

    def keep(self, _call: Call, _key: str, _value: object, /) -> None:
        """See `Reader`."""

    def address(self, call: Call, /) -> str | None:
        """See `Reader`. A form that is not known is no address, and no unix socket either: it is given as it stands."""
        peer = str(call.context.peer())
        kind, _, rest = peer.partition(":")
        if kind in ("ipv4", "ipv6"):
            return unquote(rest).rpartition(":")[0].strip("[]")
        return None if kind in _UNIX else peer

    def sent(self, call: Call, longest: int, /) -> str:
        """See `Reader`."""
        values = [value for key, value in islice(call.metadata, MOST_FIELDS) if key == _AUTHORIZATION]
        return ",".join([_text(value[:longest]) for value in values[:MOST_CREDENTIALS]])


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
