"""What the operator reads where a token was not got, or got by another secret: the next step, in the log.

Owns: the texts, and that no log handler changes an outcome. Must not know: flights, keys. An OAuth error code is the
only thing here that a server sent, and it is one of those that are registered; scope names are those that were asked
for.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

_log = logging.getLogger("tokenguard.client")


def unavailable(issuer: str, word: str, pause: float, *, has_token: bool) -> None:
    """No usable answer."""
    meanwhile = (
        "the token in use stays in use" if has_token else "there is no token to go on with, callers get an error"
    )
    _write(
        logging.WARNING,
        "issuer %.128r: the token endpoint gave no token (%s); %s; the next request in %.1f s",
        issuer,
        word,
        meanwhile,
        pause,
    )


def refused(issuer: str, error: Exception, pause: float, *, has_token: bool, of_subject: bool) -> None:
    """The server says no. About a subject token, which strangers may bring, it is no error of ours."""
    meanwhile = "the token in use stays in use" if has_token else "callers get an error"
    _write(
        logging.WARNING if of_subject else logging.ERROR,
        "issuer %.128r: %s; %s; the next request in %.1f s",
        issuer,
        error,
        meanwhile,
        pause,
    )


def misconfigured(issuer: str, error: Exception, pause: float) -> None:
    """A secret callable or a clock of the application failed."""
    _write(logging.ERROR, "issuer %.128r: no token was asked for: %s; the next attempt in %.1f s", issuer, error, pause)


def narrower(issuer: str, lacks: tuple[str, ...]) -> None:
    """Less was granted than was asked for."""
    _write(
        logging.WARNING,
        "issuer %.128r: the token lacks scopes that were asked for: %.256r. Let the server grant them to this client,"
        " or ask for less",
        issuer,
        " ".join(lacks),
    )


def secret_changed(issuer: str) -> None:
    """Another secret than the last one authenticates."""
    _write(logging.INFO, "issuer %.128r: a token was got by another secret than the last one", issuer)


def _write(level: int, text: str, *values: Any) -> None:
    with suppress(Exception):  # a broken log handler must not change an outcome
        _log.log(level, text, *values)
