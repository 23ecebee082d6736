"""Flows stepped by hand: no loop, no thread, no mock. What a flow yields is looked at, and answered."""

from __future__ import annotations

import json

from tokenguard._flow.effects import Join, Response, Send, Start, Work
from tokenguard._issuer.discovery import Discovery
from tokenguard._issuer.keys import KeySource
from tokenguard.testing import Clock, FakeIssuer

ISSUER = "https://issuer.example"
JWKS_URI = "https://issuer.example/jwks"


class Trip:
    """A flight that was started, with its flow, which runs up to its next exchange, also where that is one of a search
    which it started and waits for."""

    def __init__(self, start: Start) -> None:
        self.flight, self.flow = start.flight, start.flow
        self.effect = self.search = None
        self.landed = False
        self._advance(lambda: self.flow.send(None))

    @property
    def request(self):
        assert isinstance(self.effect, Send)
        return self.effect.request

    def header(self, name):
        return dict(self.request.headers).get(name)

    def answer(self, answer, status=200, **headers):
        """Answer what it asks for: a `Response`, a document, bytes, or an exception."""
        if self.search is not None:
            self.search.answer(answer, status, **headers)
            self.effect = self.search.effect
            return self.go_on() if self.search.landed else self
        if isinstance(answer, dict):
            answer = json.dumps(answer).encode()
        if isinstance(answer, bytes):
            answer = Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, answer)
        self._advance(lambda: self.flow.throw(answer) if isinstance(answer, Exception) else self.flow.send(answer))
        return self

    def go_on(self):
        """What it waits for has landed, or the wait for it is over."""
        waits_for = self.waits_for
        self.search = None
        self._advance(lambda: self.flow.send(waits_for.future.result() if waits_for.future.done() else None))
        return self

    def _advance(self, step) -> None:
        self.waits_for, search = None, None
        try:
            self.effect = step()
            while not isinstance(self.effect, Send):
                if isinstance(self.effect, Start):
                    search = Trip(self.effect)
                    self.effect = self.flow.send(None)
                elif isinstance(self.effect, Join):
                    self.waits_for = self.effect.flight
                    if not self.waits_for.future.done():
                        if search is not None and search.flight is self.waits_for:
                            self.search, self.effect = search, search.effect
                        return
                    self.effect = self.flow.send(self.waits_for.future.result())
                else:
                    assert isinstance(self.effect, Work)
                    try:
                        computed = self.effect.function()
                    except Exception as error:  # noqa: BLE001 - the flow decides what it means
                        self.effect = self.flow.throw(error)
                    else:
                        self.effect = self.flow.send(computed)
        except StopIteration as stop:
            self.effect, self.landed = None, True
            self.flight.land(stop.value)


class Caller:
    """One call, run until it waits or ends. `result` is its value or its error, `waits_for` a flight, for at most
    `seconds`."""

    def __init__(self, flow) -> None:
        self.flow, self.trips = flow, []
        self.result = self.waits_for = self.seconds = None
        self.done = False
        self._advance(None)

    @property
    def trip(self) -> Trip:
        [trip] = self.trips
        return trip

    def go_on(self, value=None):
        """The flight has landed, or the wait for it is over."""
        assert self.waits_for is not None
        self._advance(self.waits_for.future.result() if self.waits_for.future.done() else value)
        return self

    def _advance(self, value) -> None:
        self.waits_for = None
        try:
            effect = self.flow.send(value)
            while True:
                if isinstance(effect, Start):
                    self.trips.append(Trip(effect))
                    effect = self.flow.send(None)
                elif effect.flight.future.done():
                    effect = self.flow.send(effect.flight.future.result())
                else:
                    self.waits_for, self.seconds = effect.flight, effect.seconds
                    return
        except StopIteration as stop:
            self.result, self.done = stop.value, True
        except Exception as error:  # noqa: BLE001 - whatever the call ends with is looked at
            self.result, self.done = error, True


class Stage:
    """A `KeySource` with a clock in hand. `asks` and `forces` are calls of its two flows."""

    def __init__(self, *, discovered=False, jitter=0.0, **settings) -> None:
        self.clock = Clock(1000.0)
        self.issuer = FakeIssuer(ISSUER)
        discovery = None
        if discovered:
            discovery = Discovery(ISSUER, max_age=600, timeout=5, allow_insecure_http=False, monotonic=self.clock)
        wanted = {"max_age": 600, "max_stale": 3600, "cooldown": 30, "timeout": 5}
        self.source = KeySource(
            jwks_uri=None if discovered else JWKS_URI,
            discovery=discovery,
            static=None,
            monotonic=self.clock,
            jitter=lambda: jitter,
            name=ISSUER,
            **(wanted | settings),
        )

    def asks(self) -> Caller:
        return Caller(self.source.attend())

    def forces(self) -> Caller:
        return Caller(self.source.refetch(self.source.keys))

    @property
    def keys(self) -> dict:
        return self.issuer.jwks()

    @property
    def state(self):
        return self.source.state()

    def warm(self, **headers):
        """Cold, then fetched."""
        caller = self.asks()
        caller.trip.answer(self.keys, **headers)
        assert caller.go_on().result is self.source.keys
        return self
