"""What a Litestar request says: the readers of ASGI, less what Litestar changes of the scope.

Owns: where the path is, as it was sent: Litestar folds a slash at the end, and gives a mounted app `scope["path"]`
without the part that it is mounted at. Must not know: Litestar by import, credentials, answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from tokenguard._adapters.asgi_scopes import AsgiFieldReader, AsgiReader
from tokenguard._adapters.own_field import checked_header


class _AsSent:
    __slots__ = ()

    def route(self, scope: Mapping[str, Any], /) -> tuple[str, str] | None:
        """See `Reader`. Nothing is public in a mount."""
        if scope["type"] != "http":
            return None
        path: str = scope["path"]
        if not scope.get("raw_path"):  # some servers leave it out: then it is the path that Litestar routes by
            return None if getattr(scope.get("route_handler"), "is_mount", False) else (path, "")
        sent = _sent(scope)
        whole = sent == f"{str(scope.get('root_path') or '').rstrip('/')}{path}"
        return (path, scope["raw_path"].decode("latin-1")) if whole or sent == path else None

    def path(self, scope: Mapping[str, Any], /, longest: int | None = None) -> str:
        """See `Reader`."""
        return (_sent(scope) if scope.get("raw_path") else str(scope["path"]))[:longest]


class LitestarReader(_AsSent, AsgiReader):
    """Reads `http` and `websocket` scopes behind Litestar's router."""

    __slots__ = ()


class LitestarFieldReader(_AsSent, AsgiFieldReader):
    """The same where a field of its own holds the token and nothing else."""

    __slots__ = ()


def litestar_reader(header: str | None) -> AsgiReader:
    """The reader for a setting `header`. Raises `ConfigurationError` as `checked_header` does."""
    return LitestarReader() if header is None else LitestarFieldReader(checked_header(header))


def _sent(scope: Mapping[str, Any]) -> str:
    return unquote(scope["raw_path"].partition(b"?")[0].decode("latin-1"))
