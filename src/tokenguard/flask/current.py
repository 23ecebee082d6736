"""What is in use while a request is served: the request, its app, the app's guard, the token.

Owns: `current_token`, and where the token and a rejection of one request are kept. Must not know: when a request is
validated (see `validation`), answers.
"""

from __future__ import annotations

from typing import Any, Final, cast

from flask import Flask, Request, current_app, has_request_context, request
from werkzeug.local import LocalProxy

from tokenguard._adapters.guard import Guard
from tokenguard.errors import ConfigurationError
from tokenguard.token import AccessToken

EXTENSION: Final = "tokenguard"  # where an app keeps its guard

# On the request itself, so that they end with it, and a view that calls another app does not show its token there.
TOKEN: Final = "tokenguard.token"
NOTED: Final = "tokenguard.noted"  # the error that the guard has recorded already

# What is behind the proxies; an attribute of a proxy itself costs five times as much.
this_request = cast("LocalProxy[Request]", request)._get_current_object  # noqa: SLF001 - documented by werkzeug
this_app = cast("LocalProxy[Flask]", current_app)._get_current_object  # noqa: SLF001


def this_guard() -> Guard[Any]:
    """The guard of the app. Raises `ConfigurationError` where it has none."""
    guard = this_app().extensions.get(EXTENSION)
    if not isinstance(guard, Guard):
        raise ConfigurationError("this app has no TokenGuard: call TokenGuard.init_app(app)")
    return guard


def _bound_token() -> AccessToken | None:
    found = vars(this_request()) if has_request_context() else {}
    if TOKEN not in found:
        raise RuntimeError("current_token is bound in a request that passed require_scope() or protect(), from then on")
    token: AccessToken | None = found[TOKEN]
    return token


# From the guard on to the end of the request, `after_request` functions, error handlers and streams included.
current_token = cast("AccessToken", LocalProxy(_bound_token))
