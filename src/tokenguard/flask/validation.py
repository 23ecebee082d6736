"""The validation of one request.

Owns: which requests are validated, and what is kept of the outcome. Must not know: views, answers, what makes a token
good.
"""

from __future__ import annotations

from flask import Request

from tokenguard._adapters.guard import TOKEN_KEY
from tokenguard._adapters.needed import keep_needed
from tokenguard.errors import TokenGuardError
from tokenguard.flask.current import NOTED, TOKEN, this_guard
from tokenguard.requirements import Requirement


def validate(this: Request, needed: Requirement) -> None:
    """Bind the token of `this` request, which is good, or None where `needed` lets it pass without."""
    try:
        guard = this_guard()
        token = guard.validate(this.environ, needed)
    except TokenGuardError as error:
        vars(this)[NOTED] = error
        raise
    vars(this)[TOKEN] = this.environ[TOKEN_KEY] = token
    if guard.metadata is not None:
        keep_needed(vars(this), needed)


def is_automatic(this: Request) -> bool:
    """Whether Flask answers this request by itself, whatever the views say: no view runs for it."""
    return this.method == "OPTIONS" and bool(getattr(this.url_rule, "provide_automatic_options", False))
