"""Rejections as responses, and what goes into other responses.

Owns: the answer to an error of ours, the metadata, fields that answers need besides. Must not know: which request may
pass, who else handles errors (see `error_handlers`).
"""

from __future__ import annotations

from typing import Any

from flask import Response

from tokenguard._adapters.guard import Guard
from tokenguard._adapters.needed import attach_needed
from tokenguard._adapters.own_field import kept_apart
from tokenguard.errors import TokenGuardError
from tokenguard.flask.current import NOTED, TOKEN, this_app, this_guard, this_request


def answer(error: TokenGuardError) -> Response:
    """The response to an error of ours, raised by a guard or by the app."""
    guard, this = this_guard(), vars(this_request())
    if this.get(NOTED) is not error:  # raised by the app
        guard.note(this_request().environ, this.get(TOKEN), error)
        attach_needed(error, guard, this)
    rejection = guard.reject(error, this_request().environ)
    # HEAD: werkzeug leaves the body out and keeps the length.
    return this_app().response_class(rejection.body, rejection.status, list(rejection.headers))


def serve_metadata() -> Response | None:
    """The metadata, where the request asks for it."""
    app = this_app()
    served = this_guard().serve(this_request().environ, app)
    return None if served is None else app.response_class(served.body, served.status, list(served.headers))


def keep_apart(header: str, response: Response) -> Response:
    """Let caches know that `header` decided, where it did."""
    if TOKEN in vars(this_request()) or NOTED in vars(this_request()):
        for name, value in kept_apart(header, response.headers.keys()):
            response.headers.add(name, value)
    return response


def give_nonce(guard: Guard[Any], response: Response) -> Response:
    """Add the next nonce for proofs, where one is due."""
    nonce = guard.nonce(this_request().environ)
    if nonce is not None:
        response.headers.setdefault("DPoP-Nonce", nonce)
    return response
