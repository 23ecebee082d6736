"""Log texts for introspection that gives no answer: the cause and the next step.

Owns: the texts and their levels. Must not know: flights, caches. Of a server's answer they contain nothing but a
registered OAuth error code. A token alone can cause a WARNING, never an ERROR.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final

from tokenguard._flow.effects import ExchangeError, explained
from tokenguard._oauth.introspection_messages import AnswerError, Fault
from tokenguard._observe.bounded_log import BoundedLog

NO_ENDPOINT: Final = "metadata_without_usable_introspection_endpoint"

_log = logging.getLogger("tokenguard")


def log_no_answer(log: BoundedLog, issuer: str, error: Exception) -> None:
    """Log one failure: ERROR if it is about our settings, WARNING if it may end by itself or concerns one token."""
    if isinstance(error, ExchangeError) and error.kind == NO_ENDPOINT:
        log.write(
            _log,
            logging.ERROR,
            "issuer %.128r: its metadata names no introspection_endpoint that may be used, so callers get 503: write"
            " Introspection(endpoint=...)",
            issuer,
        )
    elif not isinstance(error, AnswerError):
        word = error.kind if isinstance(error, ExchangeError) else type(error).__name__
        log.write(_log, logging.WARNING, "issuer %.128r: introspection gave no answer (%s)", issuer, explained(word))
    elif error.fault is Fault.CREDENTIALS:
        log.write(
            _log,
            logging.ERROR,
            "issuer %.128r: the introspection endpoint rejects our credentials (%s, error %r), so callers get 503."
            " Compare client_id, client_auth and the secret or key with the registration at the issuer, and see that"
            " this client may introspect",
            issuer,
            error.kind,
            error.code,
        )
    elif error.code == "unsupported_token_type":
        log.write(
            _log,
            logging.WARNING,
            "issuer %.128r: the introspection endpoint does not introspect this kind of token (error %r), so callers"
            ' get 503. A server that answers so for JWTs cannot work with when="always": write when="opaque" and revoke'
            " JWTs by a RevocationList",
            issuer,
            error.code,
        )
    elif error.code is not None:
        log.write(
            _log,
            logging.WARNING,
            "issuer %.128r: the introspection endpoint answered with error %r; callers get 503",
            issuer,
            error.code,
        )
    else:
        log.write(_log, logging.WARNING, "issuer %.128r: introspection gave no answer (%s)", issuer, error.kind)


def log_not_shared(issuer: str) -> None:
    """Log, when the validator is made, that a store is unused."""
    with suppress(Exception):  # a broken log handler must not stop the validator
        _log.warning(
            'issuer %.128r: introspection answers stay in this process: with client_auth="bearer" only a client_id'
            " says whose they are, and another API may get other answers. Write Introspection(client_id=...) to share"
            " them",
            issuer,
        )


def log_status_unread(issuer: str) -> None:
    """Log, at the first token of an issuer that has a `status` claim, that nothing here reads it."""
    with suppress(Exception):
        _log.warning(
            "issuer %.128r: its tokens have a status claim (Token Status List), which is not read: a token that the"
            " list calls invalid is accepted until its exp. Use introspection or a RevocationList",
            issuer,
        )


def log_store_failed(log: BoundedLog, error: Exception) -> None:
    """Log that a store failed."""
    word = type(error).__name__
    log.write(_log, logging.WARNING, "the store of introspection answers failed (%s); the server is asked", word)
