"""Which handler answers an error of ours where an extension takes all errors: Flask-RESTX, Flask-RESTful.

Owns: which one takes precedence. Must not know: what the answer is (see `answers`).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from flask import Flask

from tokenguard.errors import TokenGuardError

_ANSWERING: Final = "answer_our_errors"


def answer_first(app: Flask) -> None:
    """Answer our errors before extensions that take all errors: Flask-RESTX and Flask-RESTful make 500 of them.

    They replace this method of the app by one of their own, whenever they are set up: so this is called again.
    """
    before = app.handle_user_exception
    if getattr(before, "__name__", "") == _ANSWERING:
        return

    def answer_our_errors(*context: Any) -> Any:  # Flask 3.2 passes a context before the error
        error = context[-1]
        if isinstance(error, TokenGuardError) and not _is_handled_by_an_api(before, error):
            return type(app).handle_user_exception(app, *context)  # with all handlers of the app
        return before(*context)

    app.handle_user_exception = answer_our_errors  # type: ignore[assignment,method-assign]


def _is_handled_by_an_api(handler: Any, error: TokenGuardError) -> bool:
    """Whether an `Api` that serves this request has a handler of its own for `error` or a class of ours above it."""
    while isinstance(handler, partial):  # `error_router` of one Api around the next
        api = getattr(handler.func, "__self__", None)
        serves = getattr(api, "_has_fr_route", None)  # what both libraries ask themselves
        if callable(serves) and serves():
            classes = getattr(api, "_own_and_child_error_handlers", None) or {}
            names = getattr(api, "errors", None) or {}
            ours = [kind for kind in classes if issubclass(kind, TokenGuardError)]
            return isinstance(error, tuple(ours)) or type(error).__name__ in names
        handler = handler.args[0] if handler.args else None
    return False
