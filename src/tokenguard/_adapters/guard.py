"""What every adapter is made of: prepared settings, the way to the validator, and one place that each verdict passes.

Owns: the settings of a guarded app, checked and prepared once; reading a credential out of an ASGI scope or a WSGI
environ; `Door.note`, for every refusal of every adapter and every good token that somebody watches. Must not know: any
framework, status codes, what makes a token good.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any

from tokenguard._adapters.public_paths import public_paths, route_path
from tokenguard._adapters.request import AsgiRequest, WsgiRequest
from tokenguard._oauth.credential import credential, has_token, is_plain, sole_credential
from tokenguard._observe.events import Observers, at_a_door, judged
from tokenguard._observe.redact import trail
from tokenguard._settings import switch
from tokenguard.challenge import Rejection, checked_realm, checked_resource_metadata, reject
from tokenguard.errors import (
    ConfigurationError,
    MissingTokenError,
    RejectedError,
    UnavailableError,
)
from tokenguard.requirements import NOTHING, Requirement, required
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

TOKEN_KEY = "tokenguard.access_token"
DOOR_KEY = "tokenguard.door"
POLICY_VIOLATION = 1008  # closes a websocket that cannot be refused otherwise (RFC 6455 section 7.4.1)

_log = logging.getLogger("tokenguard")

# Made while nothing is wrong: if answering fails as well (a stack used up to its end, say), this is left to send.
_LAST_RESORT = reject(None)


class Door:
    """A guarded app's settings and its way to the validator. Made once, at construction of the adapter.

    `name` tells the adapters apart. Raises `ConfigurationError` for a bad setting. `validator` is None only where it
    may come later (Flask) or never (`UNGUARDED`); then every request that needs it ends in a `ConfigurationError`.
    """

    __slots__ = (
        "_validate",
        "_validate_async",
        "name",
        "optional",
        "public",
        "realm",
        "required",
        "resource_metadata",
        "show_reason",
        "validator",
    )

    def __init__(
        self,
        name: str,
        validator: TokenValidator | None,
        *,
        scope: str | Iterable[str] | Requirement = (),
        public: str | Iterable[str] = (),
        optional: bool = False,
        realm: str | None = None,
        resource_metadata: str | None = None,
        show_reason: bool = False,
    ) -> None:
        self.name = name
        self.validator = validator
        self._validate, self._validate_async = _ours(validator)
        self.required = required(scope)
        self.public = public_paths(public) or None
        self.optional = switch("optional", optional)
        self.realm = checked_realm(realm)
        self.resource_metadata = checked_resource_metadata(resource_metadata)
        self.show_reason = switch("show_reason", show_reason)

    # ------------------------------------------------------------------------------------------------- credentials

    def asgi_credential(self, scope: Mapping[str, Any]) -> str:
        """The one bearer token of an ASGI request. Raises as `_oauth.credential.credential` does."""
        query: bytes = scope.get("query_string") or b""
        return _read(_sent(scope), query)

    def wsgi_credential(self, environ: Mapping[str, Any]) -> str:
        """The same for a WSGI request (PEP 3333: repeated fields arrive joined by commas)."""
        value = environ.get("HTTP_AUTHORIZATION")
        if value is None:
            raise MissingTokenError
        return sole_credential(value, environ.get("QUERY_STRING") or "")

    # ------------------------------------------------------------------------------------------------------ judging

    def is_public(self, path: str, root_path: str, raw: str) -> bool:
        """Whether a request for `path` needs no token. `raw` is the path as sent, where the server tells."""
        return self.public is not None and self.public.cover(route_path(path, root_path), raw)

    def judge_wsgi(self, environ: Mapping[str, Any], scope: Requirement) -> AccessToken | None:
        """The token of a WSGI request, which is good; None where there is none and `optional` lets that pass.

        It is noted here, an error by who answers it.
        """
        validator = self.ready()  # before the credentials: a request without any must not hide that nothing is guarded
        if self._is_ours(validator, getattr(validator, "validate", None), self._validate):
            value: str = environ.get("HTTP_AUTHORIZATION") or ""
            query: str | None = environ.get("QUERY_STRING")
            if value[:7] == "Bearer " and not (query and has_token(query)):
                judged = validator._begin(value[7:].encode("latin-1", "replace"), scope, is_plain)
                if judged is not None:
                    return judged if isinstance(judged, AccessToken) else validator._finish(judged)
        try:
            raw = self.wsgi_credential(environ)
        except MissingTokenError:  # only this one may open the door: one out of a check must not
            if self.optional:
                return None
            raise
        if getattr(validator, "observer", None) is None:
            return checked(validator.validate(raw, scope=scope))
        with at_a_door(validator):
            token = checked(validator.validate(raw, scope=scope))
        self.note(environ, token, None, scope)
        return token

    def judge_asgi(self, request: Mapping[str, Any], scope: Requirement) -> AccessToken | Awaitable[AccessToken] | None:
        """The same for an ASGI request. The token at once, or what to wait for (`checked` must see it)."""
        validator = self.ready()
        sent = _sent(request)  # once: they may be an iterator
        query: bytes = request.get("query_string") or b""
        if (
            len(sent) == 1
            and type(sent[0]) is bytes
            and sent[0][:7] == b"Bearer "
            and self._is_ours(validator, getattr(validator, "validate_async", None), self._validate_async)
            and not (query and has_token(query.decode("latin-1")))
        ):
            judged = validator._begin(sent[0][7:], scope, is_plain)
            if judged is not None:
                return judged if isinstance(judged, AccessToken) else validator._finish_async(judged)
        try:
            raw = _read(sent, query)
        except MissingTokenError:
            if self.optional:
                return None
            raise
        return self._judge_async(validator, raw, scope, request)

    async def _judge_async(
        self, validator: TokenValidator, raw: str, scope: Requirement, request: Mapping[str, Any]
    ) -> AccessToken:
        if getattr(validator, "observer", None) is None:
            return await validator.validate_async(raw, scope=scope)
        with at_a_door(validator):
            token = checked(await validator.validate_async(raw, scope=scope))
        self.note(request, token, None, scope)
        return token

    def _is_ours(self, validator: TokenValidator, method: object, ours: object) -> bool:
        """Whether `method` is `ours` and nobody watches. Whoever stands in for the validator or for a method of it, by
        whatever means, is asked instead."""
        return (
            type(method) is MethodType
            and method.__func__ is ours
            and method.__self__ is validator
            and validator.observer is None
        )

    def ready(self) -> TokenValidator:
        """The validator, which must be there by now."""
        if self.validator is None:
            raise ConfigurationError("no validator is set for this guarded app: give it one")
        return self.validator

    # ----------------------------------------------------------------------------------------------------- verdicts

    def note(
        self,
        request: Mapping[str, Any],
        token: AccessToken | None,
        error: BaseException | None,
        required: Requirement = NOTHING,
        *,
        name: str = "",
    ) -> None:
        """Every request that ended in `error` passes here, once, and every good `token` that somebody watches.

        `request`: the ASGI scope or WSGI environ. `required`: what was asked of the token. `name` is the adapter's,
        where one works behind another's door. Never raises.
        """
        if error is not None:
            _record(name or self.name, error)
        observer = _observer_of(self.validator)
        if observer is not None:
            observer.judged(
                judged(
                    name or self.name,
                    token,
                    error,
                    required.scopes,
                    WsgiRequest(request) if "REQUEST_METHOD" in request else AsgiRequest(request),
                    partial(self._credential_again, request),
                )
            )

    def _credential_again(self, request: Mapping[str, Any]) -> str | None:
        try:
            read = self.wsgi_credential if "REQUEST_METHOD" in request else self.asgi_credential
            return read(request)
        except RejectedError:
            return None

    def reject(self, error: BaseException) -> Rejection:
        """The answer to `error`, with this app's settings. Never raises."""
        try:
            return reject(
                error, realm=self.realm, resource_metadata=self.resource_metadata, show_reason=self.show_reason
            )
        except Exception:  # noqa: BLE001 - the last resort must not depend on what went wrong
            return _LAST_RESORT

    def refuse(
        self, request: Mapping[str, Any], error: BaseException, required: Requirement = NOTHING, *, name: str = ""
    ) -> Rejection:
        """Note the verdict and answer it."""
        self.note(request, None, error, required, name=name)
        return self.reject(error)


def _observer_of(validator: object) -> Observers | None:
    try:
        return getattr(validator, "observer", None)
    except Exception:  # noqa: BLE001 - a stand-in that fails at everything must still be answered with 500
        return None


def usable(validator: TokenValidator) -> TokenValidator:
    """A validator that can be asked. Raises `ConfigurationError` for None, a class, an app in its place."""
    if isinstance(validator, type) or not (
        callable(getattr(validator, "validate", None)) or callable(getattr(validator, "validate_async", None))
    ):
        raise ConfigurationError("validator must be a TokenValidator")
    return validator


def enough(token: AccessToken | None, scope: Requirement) -> AccessToken:
    """A judged token that is enough for one more requirement. Raises `RejectedError` where it is not, or is none."""
    if token is None:
        raise MissingTokenError
    scope.check(token, None, 0.0)
    return token


def _ours(validator: TokenValidator | None) -> tuple[Any, Any]:
    """`validate` and `validate_async` as tokenguard wrote them, for a validator that is no stand-in."""
    if validator is None:
        return None, None
    from tokenguard.validator import VALIDATE, VALIDATE_ASYNC, TokenValidator

    if not issubclass(type(validator), TokenValidator):
        return None, None
    return VALIDATE, None if validator._sync_only else VALIDATE_ASYNC  # which says what is wrong


def _sent(scope: Mapping[str, Any]) -> list[bytes]:
    """The values of every `Authorization` field."""
    values: list[bytes] = []  # by a loop: a comprehension is one call more
    for name, value in scope.get("headers") or ():
        if len(name) == 13 and name.lower() == b"authorization":
            values.append(value)
    return values


def _read(sent: list[bytes], query: bytes) -> str:
    return credential([value.decode("latin-1") for value in sent], query.decode("latin-1"))


def takes_denials(scope: Mapping[str, Any]) -> bool:
    """Whether a websocket can be refused by a whole response: ASGI's WebSocket Denial Response extension."""
    return "websocket.http.response" in (scope.get("extensions") or ())


def checked(token: object) -> AccessToken:
    if not isinstance(token, AccessToken):
        raise ConfigurationError("the validator did not return an access token")
    return token


def _record(name: str, error: BaseException) -> None:
    with suppress(Exception):  # a logger that fails must not change the verdict
        if isinstance(error, RejectedError):
            _log.debug("%s: refused: %s (%s)", name, type(error).__name__, error.reason)
        elif isinstance(error, UnavailableError):
            _log.warning("%s: could not judge a token: %s", name, trail(error))
        else:
            _log.error("%s: failed, so refused a request: %s", name, trail(error))


def log_failure(action: str, error: BaseException) -> None:
    """Log that something beside the verdicts failed: warming up, closing."""
    with suppress(Exception):
        _log.warning("%s failed: %s", action, trail(error))


# Stands in where a decorator finds no middleware in front of it.
UNGUARDED = Door("unguarded", None)
