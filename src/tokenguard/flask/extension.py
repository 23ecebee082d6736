"""The extension.

Owns: `TokenGuard`: its settings, and what it registers with an app. Must not know: status codes and challenges (see
`challenge`), what makes a token good (see `validator`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from flask import Blueprint, Flask

from tokenguard._adapters.guard import Guard
from tokenguard._adapters.marks import mark
from tokenguard._adapters.metadata import metadata_of
from tokenguard._adapters.public_paths import public_paths
from tokenguard._adapters.validators import usable
from tokenguard._adapters.wsgi_environs import wsgi_reader
from tokenguard._settings import switch
from tokenguard.challenge import checked_realm
from tokenguard.errors import ConfigurationError, TokenGuardError
from tokenguard.flask.answers import answer, give_nonce, keep_apart, serve_metadata
from tokenguard.flask.current import EXTENSION, NOTED, this_app, this_guard, this_request
from tokenguard.flask.error_handlers import answer_first
from tokenguard.flask.open_views import check_views, remember_app
from tokenguard.flask.validation import is_automatic, validate
from tokenguard.requirements import required
from tokenguard.resource import ResourceMetadata

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

_PREFIX = "TOKENGUARD_"


class TokenGuard:
    """The extension. One may serve several apps.

    Give a validator, here or to `init_app`, or let it be made from `app.config["TOKENGUARD_ISSUER"]`,
    `["TOKENGUARD_AUDIENCE"]` and so on.

    A rejection is raised as the exception it is and answered by this extension's handler for `TokenGuardError`, which
    answers those that the app raises as well; the app's own handler for that class or a narrower one takes
    precedence, one of Flask-RESTX or Flask-RESTful too.

    - `header`: the field that a gateway puts the token into, as its whole value; `Authorization` and the query are the
      app's own then (default None: `Authorization`). Answers that a token decided get `Vary`, and `Cache-Control:
      private` where the app sets none
    - `realm`, `resource_metadata`: for the challenge (RFC 9110 section 11.5, RFC 9728 section 5.1): printable ASCII
      without quote and backslash, "api" if not given; an absolute URL
    - `show_reason`: True shows clients which check failed; for development

    Raises `ConfigurationError` for what none of these may be, and in `init_app` without a validator and settings.
    """

    def __init__(
        self,
        app: Flask | None = None,
        validator: TokenValidator | None = None,
        *,
        header: str | None = None,
        realm: str | None = None,
        resource_metadata: str | ResourceMetadata | None = None,
        show_reason: bool = False,
    ) -> None:
        self._validator = None if validator is None else usable(validator)
        self._header = header
        self._reader = wsgi_reader(header)
        self._realm = checked_realm(realm)
        metadata_of(resource_metadata, None)
        self._resource_metadata = resource_metadata
        self._show_reason = switch("show_reason", show_reason)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, validator: TokenValidator | None = None) -> None:
        """Guard the decorated views of `app`. `validator` is for this app alone."""
        if EXTENSION in app.extensions:
            raise ConfigurationError("this app has a TokenGuard already: call init_app once for each app")
        guard = app.extensions[EXTENSION] = Guard(
            "flask",
            self._reader,
            _validator_for(app, self._validator if validator is None else usable(validator)),
            realm=self._realm,
            resource_metadata=self._resource_metadata,
            show_reason=self._show_reason,
        )
        remember_app(app)
        app.before_request_funcs.setdefault(None, []).insert(0, _before_the_first_request)
        if isinstance(self._resource_metadata, ResourceMetadata):
            app.before_request_funcs[None].insert(0, serve_metadata)
        answer_first(app)
        if TokenGuardError not in app.error_handler_spec[None][None]:
            app.register_error_handler(TokenGuardError, answer)
        if guard.gives_nonces:
            app.after_request(partial(give_nonce, guard))
        if self._header is not None:
            app.after_request(partial(keep_apart, self._header))

    def protect(
        self, views: Flask | Blueprint, scope: str | Iterable[str] = (), public: str | Iterable[str] = ()
    ) -> None:
        """Guard every view of an app or a blueprint: those that are there and those that come.

        `scope`: what every token must grant, all of it. `public`: paths that need no token, as in
        `tokenguard.wsgi.BearerMiddleware`. Paths without a view keep Flask's own 404, 405 and redirects, and Flask's
        automatic answer to OPTIONS is open. A view may ask for more by `require_scope`.
        """
        if not isinstance(views, Flask | Blueprint):
            raise ConfigurationError("protect() takes a Flask app or a Blueprint")
        needed, paths = required(scope), public_paths(public)
        reader = self._reader

        def guard() -> None:
            this = this_request()
            if this.url_rule is not None and not is_automatic(this) and not paths.cover(*reader.route(this.environ)):
                validate(this, needed)

        mark(guard, needed, paths)
        views.before_request(guard)


def _before_the_first_request() -> None:
    app = this_app()
    answer_first(app)
    try:
        check_views(app)
    except ConfigurationError as error:
        this_guard().note(this_request().environ, None, error)
        vars(this_request())[NOTED] = error
        raise
    # Another list, as Flask is going through this one. No later request pays for the hook.
    others = [hook for hook in app.before_request_funcs[None] if hook is not _before_the_first_request]
    if others:
        app.before_request_funcs[None] = others
    else:
        app.before_request_funcs.pop(None, None)  # another first request may have done so


def _validator_for(app: Flask, given: TokenValidator | None) -> TokenValidator:
    if given is not None:
        return given
    if not any(isinstance(name, str) and name.startswith(_PREFIX) for name in app.config):
        raise ConfigurationError(
            "this app has neither a validator nor a setting: give TokenGuard one, or set TOKENGUARD_ISSUER and"
            " TOKENGUARD_AUDIENCE in app.config before init_app"
        )
    from tokenguard.validator import TokenValidator

    return TokenValidator.from_mapping(app.config, prefix=_PREFIX)
