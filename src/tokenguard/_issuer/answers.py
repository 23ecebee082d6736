"""Introspection answers remembered, in this process and between processes.

Owns: how long an answer may be used, and what happens if a shared store fails. Must not know: asking, flights, claims.

An answer is remembered by the digest of the whole token. Lifetimes start before the question is sent, so that a
revocation takes effect within `cache_ttl` even if the answer was slow. Positive and negative answers have separate
limits: a flood of invalid tokens evicts no valid one.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from cachetools import LRUCache

from tokenguard._flow.effects import Call, Flow
from tokenguard._flow.forks import renew_after_fork
from tokenguard._issuer.log_texts import log_not_shared, log_store_failed
from tokenguard._jose import strict_json
from tokenguard._oauth.introspection_messages import time_to_expiry
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard.introspection import AnswerStore, Introspection

Answer = Mapping[str, Any]

MAX_REMEMBERED: Final = 16_384  # bytes of an answer; a longer one is used once
STORE_PAUSE: Final = 1.0  # seconds without a call after a store failed


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: Answer
    fresh_until: float
    usable_until: float


class Answers:
    """The answers remembered in this process. Thread-safe; the lock is held for memory only."""

    def __init__(self, settings: Introspection) -> None:
        self._settings = settings
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start with nothing: a thread of the parent may have been changing it."""
        self._lock = threading.Lock()
        self._positive: LRUCache[bytes, _Entry] = LRUCache(self._settings.cache_size)
        self._negative: LRUCache[bytes, _Entry] = LRUCache(self._settings.cache_size)

    def find(self, digest: bytes, mono: float, now: float, *, stale: bool = False) -> Answer | None:
        """A remembered answer that may still be used; with `stale`, a positive one past its `cache_ttl` too.

        A positive answer is never found past its `exp` by the wall clock.
        """
        with self._lock:
            entry = self._positive.get(digest)
            if entry is not None:
                usable = mono < (entry.usable_until if stale else entry.fresh_until)
                return entry.answer if usable and time_to_expiry(entry.answer, now, 1) > 0 else None
            entry = self._negative.get(digest)
            return entry.answer if entry is not None and mono < entry.fresh_until else None

    def remember(self, digest: bytes, answer: Answer, size: int, *, asked: float, now: float, at_most: float) -> float:
        """Keep an answer that was asked for at `asked`, instead of any earlier one. Result: the seconds it is fresh
        for."""
        active = answer.get("active") is True
        ttl, stale = self._settings.negative_ttl, 0.0
        if active:
            ttl, stale = self._settings.cache_ttl, self._settings.stale_ttl
        fresh = min(time_to_expiry(answer, now, ttl), at_most) if active else min(ttl, at_most)
        usable = time_to_expiry(answer, now, fresh + stale) if active else fresh
        with self._lock:
            self._positive.pop(digest, None)
            self._negative.pop(digest, None)
            if usable > 0 and size <= MAX_REMEMBERED:
                kept = self._positive if active else self._negative
                kept[digest] = _Entry(answer, asked + fresh, asked + usable)
        return fresh if size <= MAX_REMEMBERED else 0.0


class SharedAnswers:
    """Answers shared between processes, where there is a store. Read and written within a flight.

    If the store is unreachable, the server is asked: the store saves questions, it decides nothing. What it returns is
    read as strictly as an answer of the server; anything else counts as absent.

    `of` gives None if it is not known which API asks: it must not get the answer for another one (RFC 7662 section 4).
    """

    @classmethod
    def of(
        cls,
        settings: Introspection,
        store: AnswerStore | None,
        issuer: str,
        monotonic: Callable[[], float],
        log: BoundedLog,
    ) -> Self | None:
        """The shared answers, None if there is no store."""
        if store is None:
            return None
        if settings.client_id is None:  # only client_auth="bearer" needs none, and its token changes
            log_not_shared(issuer)
            return None
        return cls(settings, settings.client_id, store, issuer, monotonic, log)

    def __init__(
        self,
        settings: Introspection,
        client_id: str,
        store: AnswerStore,
        issuer: str,
        monotonic: Callable[[], float],
        log: BoundedLog,
    ) -> None:
        self._store = store
        self._log = log
        self._monotonic = monotonic
        self._paused_until = 0.0
        # Two APIs may get different answers about one token, and have different delays: they share nothing.
        about = (
            issuer,
            settings.endpoint or "",
            settings.client_auth,
            client_id,
            repr(float(settings.cache_ttl)),
            repr(float(settings.negative_ttl)),
        )
        self._fingerprint = b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in about)

    def read(self, digest: bytes) -> Flow[tuple[Answer, int, float] | None]:
        """The answer, its size and the seconds that it may still be used."""
        store, key = self._store, self._key(digest)
        found = yield from self._call(Call(lambda: store.read_answer(key), lambda: store.read_answer_async(key)))
        try:
            body, seconds = found
            answer = strict_json.parse_object(body)
            if not isinstance(answer.get("active"), bool) or not seconds > 0:
                return None
        except (TypeError, ValueError, AttributeError):
            return None
        return answer, len(body), seconds

    def write(self, digest: bytes, body: bytes, seconds: float) -> Flow[None]:
        """Share an answer for `seconds`."""
        store, key = self._store, self._key(digest)
        if seconds > 0:
            yield from self._call(
                Call(
                    lambda: store.write_answer(key, body, seconds),
                    lambda: store.write_answer_async(key, body, seconds),
                )
            )

    def _call(self, call: Call) -> Flow[Any]:
        if self._monotonic() < self._paused_until:
            return None
        try:
            return (yield call)
        except Exception as error:  # noqa: BLE001 - a store may raise anything
            mono = self._monotonic()
            if mono >= self._paused_until:  # of many simultaneous failures one is logged
                self._paused_until = mono + STORE_PAUSE
                log_store_failed(self._log, error)
            return None

    def _key(self, digest: bytes) -> bytes:
        return hashlib.sha256(self._fingerprint + digest).digest()
