"""Asking every issuer for what it takes to validate its tokens, before the first of them comes.

Owns: that each is asked once, in parallel, and how many at a time. Must not know: when a fetch is due (`keys`), what is
fetched.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tokenguard._flow.effects import ExchangeError, Flight, Flow, Join
from tokenguard._issuer.discovery import Discovery
from tokenguard._issuer.introspector import Introspector
from tokenguard._issuer.keys import KeySource
from tokenguard._issuer.trusted_issuer import Authority
from tokenguard._jose.key_set import KeySet
from tokenguard.errors import TokenGuardError

AT_ONCE: Final = 32  # each takes up to three threads, and a container may have no more than 512 of them


def warm_up(authorities: Iterable[Authority]) -> Flow[None]:
    """Keys of every issuer, and the metadata that names its introspection endpoint, in parallel, at most 32 at a time:
    one that hangs does not delay the others, and none is asked twice. Keys that serve already are not waited for.

    Raises the first error of keys, in the order of configuration, after all were tried.
    """
    authorities = tuple(authorities)
    sources = dict.fromkeys(authority.keys for authority in authorities)
    failures: dict[KeySource, TokenGuardError] = {}
    started: list[Flight[Any]] = []
    fetches: list[tuple[KeySource, Flight[bool]]] = []
    searches: list[tuple[Introspector, Flight[Any]]] = []
    for source in sources:
        yield from _room(started)
        flight, servable, failure = yield from _refresh(source)
        if failure is not None:
            failures[source] = failure
        if flight is not None:
            started.append(flight)
            if servable is None:
                fetches.append((source, flight))
    for introspector, discovery in _to_search(authorities):
        yield from _room(started)
        search = yield from discovery.search()
        started.append(search)
        searches.append((introspector, search))
    for source, flight in fetches:
        failure = yield from _failure(source, flight)
        if failure is not None:
            failures[source] = failure
    for introspector, search in searches:
        found = yield Join(search)
        if isinstance(found, ExchangeError):
            introspector.log_no_answer(found)
    for source in sources:
        if source in failures:
            raise failures[source]


def _to_search(authorities: Iterable[Authority]) -> Iterator[tuple[Introspector, Discovery]]:
    """Where an introspection endpoint is looked up, and no fetch of keys has looked for it."""
    for authority in authorities:
        introspector, discovery = authority.introspector, authority.discovery
        if introspector is None or discovery is None or authority.keys.is_discovered or discovery.remembers:
            continue
        yield introspector, discovery


def _refresh(source: KeySource) -> Flow[tuple[Flight[bool] | None, KeySet | None, TokenGuardError | None]]:
    """The flight that is pending, the keys that may be used meanwhile, or why there is neither."""
    try:
        flight, servable, _ = yield from source.refresh()
    except TokenGuardError as error:  # no room in the budget of the unproven
        return None, None, error
    return flight, servable, source.unavailable() if flight is None and servable is None else None


def _failure(source: KeySource, flight: Flight[bool]) -> Flow[TokenGuardError | None]:
    landed = yield Join(flight)
    if landed is False:
        return source.unavailable()
    if landed is None:  # it will never land, or this thread must not wait for it
        source.abandon(flight)
        try:
            yield from source.attend()
        except TokenGuardError as error:
            return error
    return None


def _room(started: list[Flight[Any]]) -> Flow[None]:
    """Wait until fewer than `AT_ONCE` of these are pending."""
    while True:
        started[:] = [flight for flight in started if flight.is_pending]
        if len(started) < AT_ONCE:
            return
        first = Flight[bool](max(0.0, min(flight.deadline for flight in started) - time.monotonic()))
        for flight in started:
            flight.future.add_done_callback(lambda _, first=first: first.land(value=True))  # type: ignore[misc]
        yield Join(first)
