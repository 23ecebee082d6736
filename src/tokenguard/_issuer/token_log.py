"""What the operator reads where a token was not got, or got by another secret: the next step, in the log.

Owns: the texts. Must not know: flights, keys. An OAuth error code is the only thing here that a server sent, and it is
one of those that are registered; scope names are those that were asked for.
"""

from __future__ import annotations

import logging
from typing import Final

from tokenguard._observe.bounded_log import BoundedLog
from tokenguard.errors import ConfigurationError, TokenGuardError, TokenRefusedError

_log = logging.getLogger("tokenguard.client")

_ON: Final = "the token in use stays in use"
_NONE: Final = "there is no usable token"


class TokenLog:
    """The log of one source, bounded: callers and their subjects can bring these records about."""

    def __init__(self, issuer: str, bounded: BoundedLog) -> None:
        self._issuer = issuer
        self._bounded = bounded

    def failed(self, error: TokenGuardError, word: str, pause: float, *, has_token: bool, of_subject: bool) -> None:
        """An attempt failed: ERROR where an operator must act, WARNING where it may pass by itself.

        `of_subject`: it is about a subject token, which any caller may bring, so it is no error of ours.
        """
        said: object = word
        if isinstance(error, TokenRefusedError):
            level, text = logging.WARNING if of_subject else logging.ERROR, "%s"
            said = error
        elif isinstance(error, ConfigurationError):
            level, text = logging.ERROR, "no token was asked for: %s"
            said = error
        else:
            level, text = logging.WARNING, "the token endpoint gave no token (%s)"
        self._bounded.write(
            _log,
            level,
            f"issuer %.128r: {text}; %s; the next request in %.1f s",
            self._issuer,
            said,
            _ON if has_token else _NONE,
            pause,
            kind=(self._issuer, level, str(said)),
        )

    def narrower(self, lacks: tuple[str, ...]) -> None:
        """Less was granted than was asked for."""
        self._bounded.write(
            _log,
            logging.WARNING,
            "issuer %.128r: the token lacks scopes that were asked for: %.256r. Let the server grant them to this"
            " client, or ask for less",
            self._issuer,
            " ".join(lacks),
        )

    def secret_changed(self, secret: bytes | None) -> None:
        """Another secret than the last one authenticates. `secret`: its fingerprint; each one is a kind of its own."""
        self._bounded.write(
            _log,
            logging.INFO,
            "issuer %.128r: a token was got by another secret than the last one",
            self._issuer,
            kind=(self._issuer, secret),
        )
