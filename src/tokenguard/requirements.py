"""What a route asks of a token that is good: scopes, roles, how and when its subject signed in, or a rule of your own.

```python
from tokenguard.requirements import Acr, MaxAge, Scope

REFUND = Scope("orders:write") & (Acr("phr", "phrh") | MaxAge(300))

validator.validate(raw, require=REFUND)
```

`&` asks for all, `|` for any. A text is a `Scope`, and a plain function `(token, request, now) -> None` that
raises a `RejectedError` for itself. Prepare them once, beside your routes.

Owns: every comparison of a requirement with a token, and which of several unmet requirements decides the answer. Must
not know: how a token is validated, HTTP.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, ClassVar, Final, NoReturn, TypeAlias

from tokenguard._oauth.claims import is_numeric_date
from tokenguard._oauth.scope import SCOPE_TOKEN, scope_names
from tokenguard._observe.evidence import attach_token, for_one_token
from tokenguard._settings import is_lazy, strings, whole
from tokenguard.errors import (
    ConfigurationError,
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    MissingTokenError,
    Reason,
    RejectedError,
)
from tokenguard.request import ResourceRequest
from tokenguard.token import AccessToken

__all__ = ["Acr", "Bound", "MaxAge", "Requirement", "Role", "Scope"]

Function: TypeAlias = Callable[[AccessToken, ResourceRequest | None, float], None]
Required: TypeAlias = "Requirement | str | Function"

_LONGEST_AGE: Final = 10**9  # seconds, 31 years: more is a mistake, and must still subtract from a float
_NEVER: Final = frozenset({object()})  # no token has this scope
_REQUIREMENT: Final = (
    'a requirement must be Scope("a"), Role("a"), Acr("a"), MaxAge(300), Bound(), a text of scopes, or a plain function'
    " (token, request, now), joined by & and |"
)


class Requirement:
    """What all requirements have in common; by itself it asks for nothing. Made by `Scope` and its like.

    `scopes`, `acr_values` and `max_age` are what a challenge asks for: of the whole, and of the first alternative of a
    `|`. `mentioned` are the scopes of all alternatives.
    """

    __slots__ = ("acr_values", "is_scope_only", "max_age", "mentioned", "needs_request", "scopes", "usual_scopes")

    def __init__(self) -> None:
        self.scopes: tuple[str, ...] = ()
        self.mentioned: tuple[str, ...] = ()
        self.acr_values: tuple[str, ...] = ()
        self.max_age: int | None = None
        self.needs_request = False
        self.is_scope_only = False
        # The short form of `check`: a token with these scopes passes. It saves a call on the path of a remembered
        # token, and where more than scopes is asked for no token has them.
        self.usual_scopes: frozenset[object] = _NEVER

    def check(self, token: AccessToken, request: ResourceRequest | None, now: float, leeway: float = 0.0) -> None:
        """Raise the `RejectedError` of the first requirement that `token` does not meet, or `ConfigurationError`."""
        unmet = self.unmet(token, request, now, leeway)
        if unmet is None:
            return
        error = self._rejection(unmet)
        attach_token(error, token)
        raise error from None

    def unmet(
        self, _token: AccessToken, _request: ResourceRequest | None, _now: float, _leeway: float, /
    ) -> Reason | RejectedError | None:
        """What is unmet; None where nothing is."""
        return None

    def _ask_scopes_only(self) -> None:
        self.is_scope_only = True
        self.usual_scopes = frozenset(self.scopes)

    def _rejection(self, unmet: Reason | RejectedError) -> RejectedError:
        if isinstance(unmet, Reason):
            if unmet is Reason.AUTHENTICATION:
                return InsufficientAuthenticationError(self.acr_values, self.max_age, self.scopes)
            if unmet is Reason.CONFIRMATION:
                return InvalidTokenError(reason=unmet)
            return InsufficientScopeError(self.scopes, reason=unmet)
        # The token is valid: a function's error about a missing token must not let the request pass as one without.
        if isinstance(unmet, MissingTokenError | InvalidRequestError):
            return InvalidTokenError()
        return for_one_token(unmet)

    def __and__(self, other: Required) -> Requirement:
        return _All(self, requirement(other))

    def __rand__(self, other: Required) -> Requirement:
        return _All(requirement(other), self)

    def __or__(self, other: Required) -> Requirement:
        return _Any(self, requirement(other))

    def __ror__(self, other: Required) -> Requirement:
        return _Any(requirement(other), self)

    def __bool__(self) -> NoReturn:
        raise ConfigurationError("join requirements by & and |: `and` and `or` would forget one of them")

    def __repr__(self) -> str:
        return "any token"


class Scope(Requirement):
    """Every one of these scopes, each a name or several with spaces between (RFC 6749 section 3.3). Unmet: 403."""

    __slots__ = ()

    def __init__(self, *scopes: str) -> None:
        super().__init__()
        names = scope_names(scopes[0] if len(scopes) == 1 and isinstance(scopes[0], str) else scopes)
        if not names:
            raise ConfigurationError('Scope must have a name: Scope("orders:read")')
        self.scopes = self.mentioned = names
        self._ask_scopes_only()

    def unmet(
        self, token: AccessToken, _request: ResourceRequest | None, _now: float, _leeway: float, /
    ) -> Reason | None:
        """See `Requirement`."""
        return None if self.usual_scopes <= token.scopes else Reason.SCOPE

    def __repr__(self) -> str:
        return f"Scope{_arguments(self.scopes)}"


class Role(Requirement):
    """Every one of these roles, as `AccessToken.roles` has them. Unmet: 403."""

    __slots__ = ("roles",)

    def __init__(self, *roles: str) -> None:
        super().__init__()
        self.roles = strings("Role", roles, example='Role("admin")')

    def unmet(
        self, token: AccessToken, _request: ResourceRequest | None, _now: float, _leeway: float, /
    ) -> Reason | None:
        """See `Requirement`."""
        return None if token.roles.issuperset(self.roles) else Reason.ROLE

    def __repr__(self) -> str:
        return f"Role{_arguments(self.roles)}"


class Acr(Requirement):
    """The subject signed in by one of these authentication context classes: the claim `acr` (OpenID Connect Core
    section 2). Unmet: 401 with `acr_values` (RFC 9470 section 3), the first one being preferred."""

    __slots__ = ()

    def __init__(self, *values: str) -> None:
        super().__init__()
        self.acr_values = strings("Acr", values, example='Acr("phr", "phrh")')
        if any(SCOPE_TOKEN.fullmatch(value) is None for value in self.acr_values):
            raise ConfigurationError('Acr must hold values without space, quote or backslash: Acr("phr", "phrh")')

    def unmet(
        self, token: AccessToken, _request: ResourceRequest | None, _now: float, _leeway: float, /
    ) -> Reason | None:
        """See `Requirement`."""
        return None if token.claims.get("acr") in self.acr_values else Reason.AUTHENTICATION

    def __repr__(self) -> str:
        return f"Acr{_arguments(self.acr_values)}"


class MaxAge(Requirement):
    """The subject signed in recently: the claim `auth_time` (OpenID Connect Core section 2), without leeway. Unmet: 401
    with `max_age` (RFC 9470 section 3).

    - `seconds`: since the sign-in at most; whole, at least 1
    """

    __slots__ = ("seconds",)

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = self.max_age = whole("seconds", seconds, minimum=1)
        if seconds > _LONGEST_AGE:
            raise ConfigurationError("seconds must be at most 1,000,000,000: MaxAge(300) is five minutes")

    def unmet(
        self, token: AccessToken, _request: ResourceRequest | None, now: float, leeway: float, /
    ) -> Reason | None:
        """See `Requirement`."""
        since: Any = token.claims.get("auth_time")
        if is_numeric_date(since) and now - self.seconds <= since <= now + leeway:
            return None
        return Reason.AUTHENTICATION

    def __repr__(self) -> str:
        return f"MaxAge({self.seconds})"


class Bound(Requirement):
    """A token that is bound to a key or a certificate, and was proven to be (RFC 9449, RFC 8705). Unmet: 401."""

    __slots__ = ()

    def unmet(
        self, token: AccessToken, _request: ResourceRequest | None, _now: float, _leeway: float, /
    ) -> Reason | None:
        """See `Requirement`."""
        return None if getattr(token, "confirmation", None) else Reason.CONFIRMATION

    def __repr__(self) -> str:
        return "Bound()"


class _Function(Requirement):
    """A rule of the application's own."""

    __slots__ = ("_function",)

    def __init__(self, function: Function) -> None:
        super().__init__()
        if isinstance(function, type) or not callable(function):
            raise ConfigurationError(_REQUIREMENT)
        if is_lazy(function):
            raise ConfigurationError("a requirement must be a plain function: a coroutine or generator would never run")
        self._function = function
        self.needs_request = True

    def unmet(
        self, token: AccessToken, request: ResourceRequest | None, now: float, _leeway: float, /
    ) -> RejectedError | None:
        try:
            result: object = self._function(token, request, now)
        except RejectedError as error:
            return error
        except Exception as error:
            raise ConfigurationError("a requirement raised an unexpected exception: see the cause") from error
        if result is None:
            return None
        if inspect.iscoroutine(result):
            result.close()  # it is never awaited, and must not warn of that
        raise ConfigurationError(
            "a requirement must be a plain function that returns None and raises a RejectedError where it is unmet:"
            " False, a coroutine or an exception that it returns would be lost"
        )

    def __repr__(self) -> str:
        return getattr(self._function, "__qualname__", type(self._function).__name__)


class _Joined(Requirement):
    """Several requirements, flattened where one of them is joined in the same way."""

    parts: tuple[Requirement, ...]
    __slots__ = ("parts",)
    _SIGN: ClassVar[str]

    def __init__(self, *parts: Requirement) -> None:
        super().__init__()
        found: list[Requirement] = []
        for part in parts:
            found.extend(part.parts if isinstance(part, _Joined) and type(part) is type(self) else (part,))
        self.parts = tuple(found)
        self.mentioned = _united(part.mentioned for part in found)
        self.needs_request = any(part.needs_request for part in found)

    def __repr__(self) -> str:
        return f"({self._SIGN.join(map(repr, self.parts))})"


class _All(_Joined):
    __slots__ = ()
    _SIGN = " & "

    def __init__(self, *parts: Requirement) -> None:
        super().__init__(*parts)
        self.scopes = _united(part.scopes for part in self.parts)
        self.acr_values = _common([part.acr_values for part in self.parts if part.acr_values])
        self.max_age = min((part.max_age for part in self.parts if part.max_age is not None), default=None)
        if all(isinstance(part, Scope) for part in self.parts):
            self._ask_scopes_only()

    def unmet(
        self, token: AccessToken, request: ResourceRequest | None, now: float, leeway: float, /
    ) -> Reason | RejectedError | None:
        for part in self.parts:
            unmet = part.unmet(token, request, now, leeway)
            if unmet is not None:
                return unmet
        return None


class _Any(_Joined):
    __slots__ = ()
    _SIGN = " | "

    def __init__(self, *parts: Requirement) -> None:
        super().__init__(*parts)
        first = self.parts[0]
        self.scopes, self.acr_values, self.max_age = first.scopes, first.acr_values, first.max_age

    def unmet(
        self, token: AccessToken, request: ResourceRequest | None, now: float, leeway: float, /
    ) -> Reason | RejectedError | None:
        first = None
        for part in self.parts:
            unmet = part.unmet(token, request, now, leeway)
            if unmet is None:
                return None
            first = unmet if first is None else first
        return first


def _united(names: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for some in names for name in some))


def _common(lists: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The values in all of `lists`; where there are none, all that are asked for: then no token passes."""
    common = tuple([value for value in lists[0] if all(value in one for one in lists)]) if lists else ()
    return common or _united(lists)


def _arguments(names: tuple[str, ...]) -> str:
    return f"({', '.join(map(repr, names))})"


# -- for `validate` and the adapters -----------------------------------------------------------------------------------


class _Nothing(Requirement):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self._ask_scopes_only()


NOTHING: Final = _Nothing()
OPTIONAL: Final = _Nothing()
"""Any good token, or no credentials at all: for adapters, which know a request without any."""


def required(scope: str | Iterable[str] | Requirement) -> Requirement:
    """A requirement of these scopes: a space-delimited string, or an iterable of such. Every name is required.

    Raises `ConfigurationError` as `scope_names` does.
    """
    if isinstance(scope, str):
        return _of_text(scope)
    if isinstance(scope, Requirement):
        return scope
    names = scope_names(scope)
    return Scope(*names) if names else NOTHING


# Scopes are written in code, so there are few; the bound is for code that makes them up.
_of_text = lru_cache(maxsize=1_024)(Scope)


def requirement(given: object) -> Requirement:
    """One requirement as `require=` and `&` take it. Raises `ConfigurationError`."""
    if isinstance(given, Requirement):
        return given
    return _of_text(given) if isinstance(given, str) else _Function(given)  # type: ignore[arg-type]


def all_of(requirements: Iterable[Required]) -> Requirement:
    """Every one of `requirements`; without any, a good token is enough."""
    parts = tuple([one for one in map(requirement, requirements) if one is not NOTHING])
    return (parts[0] if len(parts) == 1 else _All(*parts)) if parts else NOTHING


def both(scope: str | Iterable[str] | Requirement, require: Required | None) -> Requirement:
    """What `scope=` and `require=` ask for together."""
    return required(scope) if require is None else all_of((required(scope), require))
