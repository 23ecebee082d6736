"""The setting `TOKENGUARD`, read once, and the guards that are made of it.

Owns: the names in it, the validator's life. Must not know: requests, answers, checks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.signals import setting_changed
from django.http import HttpRequest
from django.utils.module_loading import import_string

from tokenguard._adapters.guard import Guard
from tokenguard._adapters.validators import usable
from tokenguard._flow.forks import Lock
from tokenguard._observe.redact import origin_of
from tokenguard._setup import environment
from tokenguard.django.reader import HttpRequestReader
from tokenguard.errors import ConfigurationError

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

NAME: Final = "TOKENGUARD"

_OF_ANSWERS: Final = ("REALM", "RESOURCE_METADATA", "SHOW_REASON")
_OF_THE_MIDDLEWARE: Final = ("SCOPE", "REQUIRE", "PUBLIC", "OPTIONAL")
_OURS: Final = (*_OF_ANSWERS, *_OF_THE_MIDDLEWARE, "HEADER")
_VALIDATOR: Final = (
    'VALIDATOR must be a TokenValidator, the dotted path of one, such as "shop.auth.validator", or of a plain callable'
    " that makes one"
)


class Conf:
    """What `TOKENGUARD` says, ready for use.

    `middleware` guards every request but public ones, `views` what is under `require`, `drf` what Django REST framework
    serves. `header` is the field of a gateway that holds the token, None for `Authorization`. `adds_fields`: whether
    answers of the application get more fields.

    Raises `ConfigurationError` for a mapping that is none, an unknown name, a bad value.
    """

    __slots__ = ("_is_validator_ours", "adds_fields", "drf", "header", "middleware", "reader", "validator", "views")

    def __init__(self, given: object) -> None:
        if not isinstance(given, Mapping):
            raise ConfigurationError(
                f'{NAME} must be a mapping: {NAME} = {{"ISSUER": "https://auth.example.com/", "AUDIENCE":'
                ' "https://api.example.com"}'
            )
        self.header: str | None = given.get("HEADER")
        self.reader = HttpRequestReader(self.header)
        self.validator, self._is_validator_ours = _validator(given)
        answers = _named(given, _OF_ANSWERS)
        self.middleware = self._guard("django", **answers, **_named(given, _OF_THE_MIDDLEWARE))
        self.views = self._guard("django", **answers)
        self.drf = self._guard("drf", **answers)
        self.adds_fields = self.header is not None or self.middleware.gives_nonces

    def _guard(self, name: str, **more: Any) -> Guard[HttpRequest]:
        return Guard(name, self.reader, self.validator, **more)

    def close(self) -> None:
        """Release the connections of a validator that was made here."""
        if self._is_validator_ours:
            with suppress(Exception):  # whatever a callable of the application's made
                self.validator.close()


class _Current:
    """The settings in use. One lock, so that two first requests make one validator: it remembers used proofs."""

    def __init__(self) -> None:
        self.made: Conf | None = None
        self._lock = Lock()

    def make(self) -> Conf:
        with self._lock:
            if self.made is None:
                self.made = Conf(getattr(settings, NAME, None))
            return self.made

    def forget(self) -> None:
        with self._lock:
            made, self.made = self.made, None
        if made is not None:
            made.close()


_current = _Current()


def current() -> Conf:
    """The settings in use, read at the first call. Raises `ConfigurationError`, again at each call."""
    return _current.made or _current.make()


def _read_anew(*, setting: str, **_: object) -> None:
    """For `override_settings` in tests."""
    if setting == NAME:
        _current.forget()


setting_changed.connect(_read_anew)


def _named(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name.lower(): given[name] for name in names if name in given}


def _validator(given: Mapping[str, Any]) -> tuple[TokenValidator, bool]:
    """The validator, and whether it was made here."""
    if "VALIDATOR" not in given:
        environment.check_every_name(given, "", _OURS)
        from tokenguard.validator import TokenValidator

        return TokenValidator.from_mapping(given, prefix=""), True
    others = [str(name) for name in given if name not in (*_OURS, "VALIDATOR")]
    if others:
        raise ConfigurationError(f"VALIDATOR replaces the validator's own settings: remove {others[0]:.64}")
    found = given["VALIDATOR"]
    if isinstance(found, str):
        found = _result_of("its import", partial(import_string, found))
    with suppress(ConfigurationError):
        return usable(found), False
    if not callable(found):
        raise ConfigurationError(_VALIDATOR)
    made = _result_of("its call", found)
    if inspect.iscoroutine(made):
        made.close()  # it is never awaited, and need not say so
        raise ConfigurationError(_VALIDATOR)
    return usable(made), True


def _result_of(what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"{_VALIDATOR}; {what} failed: {origin_of(error)}") from error
