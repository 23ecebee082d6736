"""WSGI middleware: no request reaches the app behind it without a good token.

Owns: what is validated, when the app's own errors are answered (PEP 3333). Must not know: any framework, how an answer
is sent (see `_adapters/wsgi_answers`), status codes and challenges (see `challenge`), what makes a token good (see
`validator`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tokenguard._adapters.guard import TOKEN_KEY, Guard
from tokenguard._adapters.validators import usable
from tokenguard._adapters.wsgi_answers import Answer, kept_apart_by, send_rejection, with_nonce
from tokenguard._adapters.wsgi_environs import wsgi_reader
from tokenguard.errors import TokenGuardError
from tokenguard.requirements import NOTHING, Required
from tokenguard.resource import ResourceMetadata

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from tokenguard.token import AccessToken
    from tokenguard.validator import TokenValidator

__all__ = ["BearerMiddleware"]

_WHOLE: Final = (list, tuple)


class BearerMiddleware:
    """Guards every request of `app`.

    - `scope`: what every token must grant, all of it
    - `require`: what else is required of every token, from `tokenguard.requirements`
    - `public`: paths that need no token: `"/health"`, or `"/docs/*"` for what lies below `/docs/`
    - `optional`: a request without credentials passes, one with bad credentials does not; not beside a `scope`
    - `header`: the field that a gateway puts the token into, as its whole value; None: `Authorization`
    - `realm`, `resource_metadata`: for the challenge (RFC 9110 section 11.5, RFC 9728 section 5.1)
    - `show_reason`: True shows clients which check failed; for development

    The app finds an `AccessToken` at `environ["tokenguard.access_token"]`, or None on public paths and where `optional`
    let a request through. Only `HTTP_AUTHORIZATION`, or the variable of `header`, is read: no other header, and no
    variable that a rewriting server adds, decides anything. No method is exempt.

    Whatever goes wrong in the guard is a rejection. A `TokenGuardError` that reaches this from the app before the first
    octet of the body is answered as one of the guard's; everything else that the app raises passes untouched. With
    `header`, answers get `Vary`, and `Cache-Control: private` where the app sets none.
    """

    def __init__(
        self,
        app: WSGIApplication,
        validator: TokenValidator,
        *,
        scope: str | Iterable[str] = (),
        require: Required | None = None,
        public: str | Iterable[str] = (),
        optional: bool = False,
        header: str | None = None,
        realm: str | None = None,
        resource_metadata: str | ResourceMetadata | None = None,
        show_reason: bool = False,
    ) -> None:
        self.app = app
        self._guard = Guard(
            "wsgi",
            wsgi_reader(header),
            usable(validator),
            scope=scope,
            require=require,
            public=public,
            optional=optional,
            realm=realm,
            resource_metadata=resource_metadata,
            show_reason=show_reason,
        )
        self._around: Callable[[WSGIEnvironment, StartResponse], StartResponse] | None = None
        if header is not None:
            self._around = partial(kept_apart_by, header)
        elif self._guard.gives_nonces:
            self._around = partial(with_nonce, self._guard)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        guard = self._guard
        if self._around is not None:
            start_response = self._around(environ, start_response)
        if guard.metadata is not None:
            served = guard.serve(environ, self.app)
            if served is not None:
                return send_rejection(served, environ, start_response)
        try:
            token = environ[TOKEN_KEY] = guard.validate(environ, guard.required)
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            return send_rejection(guard.reject(error, environ), environ, start_response)
        answer = Answer()
        answer.server, answer.status, answer.failed = start_response, None, ()
        try:
            result = self.app(environ, answer.start)
        except TokenGuardError as error:
            return _answer_late(guard, error, token, environ, answer)
        # Nothing of the application's runs while these are sent.
        if isinstance(result, _WHOLE) or _is_file(result, environ):
            answer.send()
            return result
        return _Body(guard, result, token, environ, answer)


class _Body:
    """An application's body, whose first octet the application may still fail to make."""

    __slots__ = ("_begun", "_reject", "_result")

    def __init__(
        self,
        guard: Guard[Any],
        result: Iterable[bytes],
        token: AccessToken | None,
        environ: WSGIEnvironment,
        begun: Answer,
    ) -> None:
        self._result = result
        self._begun = begun
        self._reject = partial(_answer_late, guard, token=token, environ=environ, begun=begun)

    def __iter__(self) -> Iterator[bytes]:
        try:
            chunks = iter(self._result)
            for chunk in chunks:
                self._begun.send()
                yield chunk
                if chunk:
                    break
        except TokenGuardError as error:
            yield from self._reject(error)
        else:
            self._begun.send()
            yield from chunks

    def close(self) -> None:
        """Called by the server at the end (PEP 3333)."""
        close = getattr(self._result, "close", None)
        if close is not None:
            close()


def _answer_late(
    guard: Guard[Any],
    error: TokenGuardError,
    token: AccessToken | None,
    environ: WSGIEnvironment,
    begun: Answer,
) -> list[bytes]:
    """Answer in the application's place. Where its answer has left already, the server raises `error` again.

    Where it has started none, this is the first start: werkzeug's test client would raise `error` for any `exc_info`.
    """
    failed = () if begun.status is None else ((type(error), error, error.__traceback__),)
    guard.attach_scopes(error, NOTHING)  # the record comes later, once it is known that this is the answer
    body = send_rejection(guard.reject(error, environ), environ, begun.server, *failed)
    guard.note(environ, token, error)
    return body


def _is_file(result: object, environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")  # the server sends what it made of a file by ways of its own
    return isinstance(wrapper, type) and isinstance(result, wrapper)
