"""A request as far as it may be told about: method, path without query, one header field.

Owns: reading them out of an ASGI scope or a WSGI environ. Must not know: credentials, verdicts, who wants to know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["AsgiRequest", "WsgiRequest"]


class AsgiRequest:
    """An ASGI `http` or `websocket` scope."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._scope = scope

    @property
    def method(self) -> str:
        """The method; a websocket handshake is a GET (RFC 6455 section 4.1)."""
        return str(self._scope.get("method", "GET"))

    @property
    def path(self) -> str:
        """The decoded path; ASGI keeps the query elsewhere."""
        return str(self._scope.get("path", ""))

    def header(self, name: str) -> str | None:
        """The first field of this name."""
        wanted = name.lower().encode("latin-1")
        for field, value in self._scope.get("headers") or ():
            if field.lower() == wanted:
                return str(value, "latin-1")
        return None


class WsgiRequest:
    """A WSGI environ (PEP 3333)."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ

    @property
    def method(self) -> str:
        """The method."""
        return str(self._environ.get("REQUEST_METHOD", ""))

    @property
    def path(self) -> str:
        """The decoded path as ASGI tells it, what the app is mounted at included. WSGI keeps the query elsewhere."""
        path = f"{self._environ.get('SCRIPT_NAME', '')}{self._environ.get('PATH_INFO', '')}"
        return path.encode("latin-1", "replace").decode("utf-8", "replace")

    def header(self, name: str) -> str | None:
        """The field of this name; servers join repeated ones by commas."""
        value = self._environ.get(f"HTTP_{name.upper().replace('-', '_')}")
        return None if value is None else str(value)
