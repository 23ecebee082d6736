"""What an app gives an adapter as its validator: a `TokenValidator`, or whatever replaces one or a method of it.

Owns: what is asked of either, and how a replacement is called. Must not know: requests, outcomes.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tokenguard._observe.observers import Observers
from tokenguard.errors import ConfigurationError
from tokenguard.request import ResourceRequest
from tokenguard.requirements import Requirement
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

T = TypeVar("T")

_LEEWAY: Final = 30  # of a `TokenValidator` by default


def usable(validator: TokenValidator) -> TokenValidator:
    """A usable validator. Raises `ConfigurationError` for None, a class, an app in its place."""
    if isinstance(validator, type) or not (
        callable(getattr(validator, "validate", None)) or callable(getattr(validator, "validate_async", None))
    ):
        raise ConfigurationError("validator must be a TokenValidator")
    return validator


def ours(validator: TokenValidator | None) -> tuple[Any, Any, Any]:
    """`validate` and `validate_async` as tokenguard wrote them, for a validator that nothing replaces, and what checks
    one more requirement."""
    if validator is None:
        return None, None, _check
    from tokenguard.validator import VALIDATE, VALIDATE_ASYNC, TokenValidator

    if not issubclass(type(validator), TokenValidator):
        return None, None, _check
    # Without `VALIDATE_ASYNC` the method itself is called, and its error explains what is wrong.
    return VALIDATE, None if validator._sync_only else VALIDATE_ASYNC, validator._check


def setting(validator: object, name: str, kind: type[T]) -> T | None:
    """A setting of a validator, None where it has none of this kind."""
    found = None
    with suppress(Exception):  # a replacement that fails at everything
        found = getattr(validator, name, None)
    return found if isinstance(found, kind) else None


def leeway(validator: object) -> float:
    """How many seconds a validator adds to the times of a token."""
    found = setting(validator, "_leeway", object)
    return found if isinstance(found, int | float) else _LEEWAY


def observer_of(validator: object) -> Observers | None:
    """The observers of a validator, None where it has none."""
    try:
        return getattr(validator, "observer", None)
    except Exception:  # noqa: BLE001 - a replacement that fails at everything must still be answered with 500
        return None


def arguments(required: Requirement, said: ResourceRequest | None) -> dict[str, Any]:
    """The arguments for whatever replaces a validator: as few as there can be."""
    if said is None and required.is_scope_only:
        return {"scope": required}
    return {"require": required, "request": said}


def checked(token: object) -> AccessToken:
    """What a replacement returned. Raises `ConfigurationError` where it is no access token."""
    if not isinstance(token, AccessToken):
        raise ConfigurationError("the validator did not return an access token")
    return token


def _check(token: AccessToken, required: Requirement, request: ResourceRequest | None) -> None:
    required.check(token, request, time.time(), _LEEWAY)
