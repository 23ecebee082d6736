"""The demonstration: the requests to each service in order, and the expected answers.

Owns: the rows and the table. Must not know: how a token is validated.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TextIO

import httpx

from tokenguard._demo.service import SCOPE
from tokenguard._demo.services import Api, Reply, Service, Worker
from tokenguard.testing import DevelopmentServer, FakeIssuer

__all__ = ["run"]

AUDIENCE = "https://orders.example"


@dataclass(frozen=True, slots=True)
class Row:
    """One request, and the answer that each kind of service must give. `reason`: the worker's, "" if it accepts.

    `patience`: seconds to repeat the request, if a service first has to notice a change in the background.
    """

    request: str
    token: str | None
    status: int = 200
    error: str = ""
    reason: str = ""
    patience: float = 0

    def expected(self, service: Service) -> str:
        """In words, for the table."""
        if isinstance(service, Api):
            return f"{self.status} {self.error}".strip()
        if self.status == 503:
            return "could not tell"
        return f"rejected: {self.reason}" if self.reason else "accepted"

    def fits(self, service: Service, reply: Reply) -> bool:
        """Whether `reply` is what is expected, its headers included (RFC 6750 section 3)."""
        if not isinstance(service, Api):
            return reply.status == self.expected(service)
        return (
            reply.status == str(self.status)
            and reply.challenge.startswith("Bearer ") == (self.status in (401, 403))
            and (f'error="{self.error}"' in reply.challenge if self.error else "error=" not in reply.challenge)
            and bool(reply.retry_after) == (self.status == 503)
        )


class Demonstration:
    """A run. `out` gets each row as soon as it is known."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.issuer = FakeIssuer(audience=AUDIENCE, client_id="orders-client")
        self.unexpected = 0
        self.rows = 0

    def say(self, text: str = "") -> None:
        """One line, at once."""
        print(text, file=self.out, flush=True)

    def show(self) -> None:
        """Run all of it; every process is stopped at the end, even after an error."""
        started = time.monotonic()
        with ExitStack() as ending:
            server = ending.enter_context(self.issuer.serve())
            self.say(f"issuer   {self.issuer.url}  for development only")
            settings = {"TOKENGUARD_ISSUER": self.issuer.url, "TOKENGUARD_AUDIENCE": AUDIENCE}
            services = (
                Api("FastAPI", "tokenguard._demo.fastapi_api", settings),
                Api("Flask", "tokenguard._demo.flask_api", settings),
                Worker("worker", "tokenguard._demo.worker", settings),
            )
            for service in services:
                ending.enter_context(service)
                self.say(f"{service.name:8} {service.address}  process {service.pid}")
            self.say()
            self.line("request", "service", "expected", "status", "WWW-Authenticate", "verdict")
            for row in self.requests(server, services):
                for service in services:
                    self.send(row, service)
        self.say()
        as_expected = self.rows - self.unexpected
        seconds = time.monotonic() - started
        self.say(f"{as_expected} of {self.rows} rows as expected, {seconds:.0f} s; everything is stopped again")

    def requests(self, server: DevelopmentServer, services: tuple[Service, ...]) -> Iterator[Row]:
        """The rows, and between them what happens to the issuer."""
        fake = self.issuer
        good = self.client_credentials(SCOPE)
        yield Row("good token", good)
        yield Row("same token again", good)
        leaked = fake.key
        fake.rotate(keep_old=True)
        yield Row("rotated key", self.client_credentials(SCOPE))
        yield Row("key before rotation", good)
        yield Row("no token", None, 401, reason="malformed")
        yield Row("not a token", "nonsense", 401, "invalid_token", "malformed")
        yield Row("expired", fake.expired(scope=SCOPE), 401, "invalid_token", "expired")
        yield Row("wrong audience", fake.wrong_audience(scope=SCOPE), 401, "invalid_token", "audience")
        yield Row("wrong issuer", fake.wrong_issuer(scope=SCOPE), 401, "invalid_token", "issuer")
        yield Row("forged signature", fake.forged_signature(scope=SCOPE), 401, "invalid_token", "signature")
        yield Row("alg: none", fake.alg_none(scope=SCOPE), 401, "invalid_token", "algorithm")
        yield Row("too little scope", self.client_credentials("orders:list"), 403, "insufficient_scope", "scope")
        fake.withdraw(leaked.kid)
        yield Row("revoked key", good, 401, "invalid_token", "unknown_key", patience=8)
        good = self.client_credentials(SCOPE)
        yield Row("good token", good)
        server.stop()
        time.sleep(1.5)  # the services' keys are fresh for one second, so they are stale now
        yield Row("issuer down", good)
        for service in services:
            service.restart()
        yield Row("restart, issuer down", good, 503)

    def send(self, row: Row, service: Service) -> None:
        """Send it, and repeat it within the row's patience until the answer is the expected one."""
        deadline = time.monotonic() + row.patience
        reply = service.ask(row.token)
        while not row.fits(service, reply) and time.monotonic() < deadline:
            time.sleep(0.2)
            reply = service.ask(row.token)
        fits = row.fits(service, reply)
        self.rows += 1
        self.unexpected += not fits
        challenge, _, _ = reply.challenge.partition(", error_description=")  # constant text, too wide for a table
        if reply.retry_after:
            challenge = f"(Retry-After: {reply.retry_after})"
        verdict = "ok" if fits else "UNEXPECTED"
        self.line(row.request, service.name, row.expected(service), reply.status, challenge or "-", verdict)
        if not fits:
            self.say(service.log())

    def line(self, request: str, service: str, expected: str, status: str, challenge: str, verdict: str) -> None:
        """One line of the table."""
        self.say(f"{request:20} {service:10} {expected:22} {status:21} {challenge:46} {verdict}".rstrip())

    def client_credentials(self, scope: str) -> str:
        """An access token, as a client gets it (RFC 6749 section 4.4)."""
        answer = httpx.post(
            self.issuer.token_endpoint,
            data={"grant_type": "client_credentials", "scope": scope},
            auth=(self.issuer.client_id, self.issuer.client_secret),
            timeout=10,
            trust_env=False,
        )
        token: str = answer.raise_for_status().json()["access_token"]
        return token


def run(out: TextIO | None = None) -> int:
    """Run the demonstration on `out` (default: standard output). Returns 0 if every row was as expected, else 1."""
    demonstration = Demonstration(out or sys.stdout)
    demonstration.show()
    return 1 if demonstration.unexpected else 0
