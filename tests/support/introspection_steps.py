"""The introspection flow stepped by hand: no loop, no thread, no mock, time as a number."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import parse_qs

import flow_steps

from tokenguard._flow.effects import ExchangeError, Join, Response, Send, Start, Work
from tokenguard._issuer.introspector import Introspector
from tokenguard.errors import TokenGuardError
from tokenguard.introspection import Introspection
from tokenguard.testing import Clock

ISSUER = "https://auth.example.com/"
ENDPOINT = "https://auth.example.com/introspect"
ACTIVE = {"active": True, "sub": "alice"}
DOWN = ExchangeError("unreachable", ends_attempt=True)


def reply(members, status=200):
    body = members if isinstance(members, bytes) else json.dumps(members).encode()
    return Response(status, {"content-type": "application/json"}, body)


class Trip:
    """A flight that was started, and its flow, stopped at the first effect, also where that is one of its search."""

    def __init__(self, start):
        self.flight, self.flow, self.search = start.flight, start.flow, None
        self.effect = self.advance(None)

    def advance(self, value):
        if self.search is not None:
            self.effect = self.search.answer(value).effect
            if not self.search.landed:
                return self.effect
            value, self.search = self.search.flight.future.result(), None
        try:
            self.effect = self.flow.throw(value) if isinstance(value, BaseException) else self.flow.send(value)
            while isinstance(self.effect, Work):  # what a driver does beside its loop
                try:
                    value = self.effect.function()
                except Exception as error:  # noqa: BLE001 - the flow decides what it means
                    self.effect = self.flow.throw(error)
                else:
                    self.effect = self.flow.send(value)
            if isinstance(self.effect, Start):
                self.search = flow_steps.Trip(self.effect)
                assert self.flow.send(None).flight is self.search.flight
                self.effect = self.search.effect
        except StopIteration as stop:
            self.effect = None
            self.flight.land(stop.value)
        return self.effect

    @property
    def token(self):
        assert isinstance(self.effect, Send)
        return parse_qs(self.effect.request.body.decode())["token"][0]


class Caller:
    """One call of `ask`, run until it waits or ends. `result` is the answer or the error."""

    def __init__(self, stage, token, now=None):
        self.stage, self.result, self.waits_for = stage, None, None
        digest = hashlib.sha256(token.encode()).digest()
        self.flow = stage.asker.ask(token, digest, stage.clock() if now is None else now)
        self.advance(None)

    def advance(self, value):
        try:
            while True:
                effect = self.flow.send(value)
                value = None
                if isinstance(effect, Start):
                    self.stage.trips.append(Trip(effect))
                    continue
                assert isinstance(effect, Join)
                if not effect.flight.future.done():
                    self.waits_for = effect.flight
                    return self
                value = effect.flight.future.result()
        except StopIteration as stop:
            self.result = stop.value
        except TokenGuardError as error:
            self.result = error
        return self

    def wake(self):
        """Go on, if what it waits for has landed."""
        while self.result is None and self.waits_for.future.done():
            self.advance(self.waits_for.future.result())
        return self.result


class Stage:
    def __init__(self, discovery=None, **changes):
        self.clock = Clock()
        self.trips = []
        wanted = {"client_id": "api", "client_secret": "s3cret", "endpoint": ENDPOINT} | changes
        self.asker = Introspector(
            Introspection(**wanted), issuer=ISSUER, discovery=discovery, timeout=5, monotonic=self.clock
        )

    def ask(self, token="opaque-1", *answers, **options):
        """Ask; each of `answers` is what the next effect of the flight started by it results in."""
        before = len(self.trips)
        caller = Caller(self, token, **options)
        if answers:
            (trip,) = self.trips[before:]
            for answer in answers:
                trip.advance(answer)
            caller.wake()
        return caller.result if answers or caller.result is not None else caller

    @property
    def asked(self):
        return len(self.trips)
