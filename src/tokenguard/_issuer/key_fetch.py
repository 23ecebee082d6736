"""One fetch of a key set: its URL, the request, and how the answer is read.

Owns: a set that has moved, the request, conditional requests (RFC 9110 section 13.1.2) and a 304, words for errors.
Must not know: when to fetch, the callers that wait, what is done with the result.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from tokenguard._flow.effects import ExchangeError, Flow, Response, reading
from tokenguard._issuer.discovery import Discovery
from tokenguard._issuer.fetch import Fetch
from tokenguard._issuer.freshness import lifetime
from tokenguard._jose import key_set, strict_json
from tokenguard._jose.key_set import KeySet, KeySetError
from tokenguard._observe.bounded_log import BoundedLog

_ACCEPT: Final = ("accept", "application/jwk-set+json, application/json")
_LONGEST_ETAG: Final = 256
_LONGEST_CHAIN: Final = 16  # of causes; an error may be its own cause


@dataclass(frozen=True, slots=True)
class _Stored:
    """An answer that can be confirmed: by this tag, at this URL, for exactly these keys."""

    url: str
    etag: str
    cache_control: str
    keys: KeySet


class KeyFetch:
    """Fetches the keys of one issuer, from `jwks_uri` or from the URL that `discovery` finds. Runs inside a flight."""

    def __init__(
        self,
        *,
        jwks_uri: str | None,
        discovery: Discovery | None,
        max_age: float,
        fetch: Fetch,
        log: BoundedLog,
    ) -> None:
        self._write = partial(log.write, key_set.log)
        self._jwks_uri = jwks_uri
        self._discovery = discovery
        self._max_age = max_age
        self._fetch = fetch
        self._stored: _Stored | None = None

    def run(self, previous: KeySet | None, *, forced: bool) -> Flow[tuple[KeySet, float]]:
        """The keys, and for how many seconds they are fresh. `previous` is the set in use; a key that has not changed
        stays the same object.

        `forced`: no cache on the way may answer, and the whole set is fetched. Raises `ExchangeError` or `KeySetError`.
        """
        discovery = self._discovery if self._jwks_uri is None else None
        if discovery is None:
            return (yield from self._ask(self._jwks_uri or "", previous, forced=forced))
        try:
            return (yield from self._discover(discovery, previous, forced=forced))
        except Exception:
            discovery.forget()
            raise

    def _discover(self, discovery: Discovery, previous: KeySet | None, *, forced: bool) -> Flow[tuple[KeySet, float]]:
        """The keys from the URL in the metadata. A remembered URL may be out of date: if it has no key set, look it
        up once more, and ask again only if the URL has changed.

        An unreachable server ends the attempt, as in discovery. An attempt asks no URL for keys twice, so that two
        attempts in a cool-down are at most two requests to each URL.
        """
        remembered = discovery.remembers
        url = yield from discovery.find("jwks_uri")
        try:
            return (yield from self._ask(url, previous, forced=forced))
        except (ExchangeError, KeySetError) as error:
            if not remembered or (isinstance(error, ExchangeError) and error.ends_attempt):
                raise
            discovery.forget()
            moved = url
            with suppress(ExchangeError):  # then no other URL is known
                moved = yield from discovery.find("jwks_uri")
            if moved == url:
                raise
        return (yield from self._ask(moved, previous, forced=forced))

    def _ask(self, url: str, previous: KeySet | None, *, forced: bool) -> Flow[tuple[KeySet, float]]:
        stored = self._stored if self._stored and self._stored.url == url and self._stored.keys is previous else None
        headers: list[tuple[str, str]] = [_ACCEPT]
        if forced:
            headers.append(("cache-control", "no-cache"))
        elif stored is not None:
            headers.append(("if-none-match", stored.etag))
        answer = yield from self._fetch.get(url, tuple(headers), "jwks")
        if answer.status == 304 and stored is not None and not forced:
            # It has the headers that have changed and may leave out the rest (RFC 9111 section 4.3.4).
            return stored.keys, lifetime({"cache-control": stored.cache_control, **answer.headers}, self._max_age)
        keys = yield from reading(answer, partial(_read, answer, previous, self._write))
        etag = answer.headers.get("etag", "")
        usable = etag.isascii() and etag.isprintable() and 0 < len(etag) <= _LONGEST_ETAG
        self._stored = _Stored(url, etag, answer.headers.get("cache-control", ""), keys) if usable else None
        return keys, lifetime(answer.headers, self._max_age)


def _read(answer: Response, previous: KeySet | None, write: Callable[[int, str, str], None]) -> KeySet:
    if answer.status != 200:
        raise ExchangeError(f"status_{answer.status}")
    try:
        document = strict_json.parse_object(answer.body)
    except ValueError:
        raise KeySetError("not_a_json_object") from None
    return key_set.import_set(document, previous=previous, write=write)


def word(error: BaseException) -> str:
    """A constant word for an error: never a library's text, which may quote a credential."""
    if isinstance(error, ExchangeError):
        return error.kind
    return str(error) if isinstance(error, KeySetError) else type(error).__name__


def without_frames(error: Exception) -> Exception:
    """The error without its frames, which refer to clients and bodies: it is kept as a cause for a long time."""
    link: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if link is not None:
            link.__traceback__ = None
            link = link.__cause__ or link.__context__
    return error
