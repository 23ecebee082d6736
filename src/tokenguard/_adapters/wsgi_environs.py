"""What a WSGI environ says (PEP 3333): its readers, for every adapter that is given environs.

Owns: the only code that reads a WSGI environ. Must not know: any framework, what makes a credential or a token good,
answers, observers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tokenguard._adapters.own_field import checked_header, whole_values
from tokenguard._adapters.request import LONGEST, UNKNOWN, der_of_leaf
from tokenguard._oauth.credential import PREFIX

_FIELDS_WITHOUT_PREFIX: Final = ("CONTENT_TYPE", "CONTENT_LENGTH")  # PEP 3333
# The path as it was sent is no part of WSGI; servers that give it use one of these names.
_SENT_PATHS: Final = ("RAW_URI", "REQUEST_URI")


class WsgiReader:
    """Reads WSGI environs (PEP 3333). A server has joined repeated fields by commas."""

    __slots__ = ("_key",)
    takes_schemes = True

    def __init__(self) -> None:
        self._key = _variable("Authorization")

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
        """See `Reader`. That of a unix socket is empty. A server without the variable, which must be there (RFC 3875
        section 4.1.8), does not know it: a2wsgi behind uvicorn, where the peer has reset its connection."""
        return str(environ.get("REMOTE_ADDR", UNKNOWN)) or None

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


def wsgi_reader(header: str | None) -> WsgiReader:
    """The reader for a setting `header`. Raises `ConfigurationError` as `checked_header` does."""
    return WsgiReader() if header is None else WsgiFieldReader(checked_header(header))


def _variable(field: str) -> str:
    return f"HTTP_{field.upper().replace('-', '_')}"
