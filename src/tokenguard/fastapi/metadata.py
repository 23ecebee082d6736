"""Protected resource metadata (RFC 9728) of an app.

Owns: that it is served without a token. Must not know: what is in it, and its path (see `_adapters.metadata`).
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.requests import HTTPConnection

from tokenguard._adapters.guard import Guard
from tokenguard.errors import ConfigurationError
from tokenguard.fastapi.bearer import BearerToken
from tokenguard.starlette import response_of

__all__ = ["add_resource_metadata"]


def add_resource_metadata(app: FastAPI, bearer: BearerToken) -> None:
    """Serve the `ResourceMetadata` of `bearer` (RFC 9728), at its own path and without a token.

    `scopes_supported` are those of all routes of `app`. Call it last where other middleware asks for tokens. Raises
    `ConfigurationError` for a `BearerToken` that has none.
    """
    if not isinstance(bearer, BearerToken):
        raise ConfigurationError("bearer must be a BearerToken")
    guard = bearer._guard  # noqa: SLF001 - of this package
    if guard.metadata is None:
        raise ConfigurationError(
            "bearer has no metadata: write BearerToken(..., resource_metadata=ResourceMetadata(...))"
        )
    app.add_middleware(_Serving, guard=guard)


class _Serving:
    """Answers requests for the metadata, and no other."""

    def __init__(self, app: Any, guard: Guard[Any]) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        served = self._guard.serve(scope, scope.get("app")) if scope["type"] == "http" else None
        if served is None:
            await self._app(scope, receive, send)
        else:
            await response_of(HTTPConnection(scope), served)(scope, receive, send)
