"""The demonstration: the requests to each service in order, and the expected answers.

Owns: the rows and the table. Must not know: how a token is validated.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import httpx

from tokenguard._demo.service import SCOPE
from tokenguard._demo.services import Api, Caller, Reply, Service, Worker
from tokenguard.testing import Client, DevelopmentServer, FakeIssuer

__all__ = ["run"]

AUDIENCE = "https://orders.example"
CALLER = "reports"  # the client id of the worker that calls the APIs
PATIENCE = 5.0  # seconds for what happens in the background
RENEWAL = 250.0  # seconds after which a token of five minutes is due, and still in use
PAUSE = 2.0  # seconds: longer than the pause after a first failure


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


@dataclass(frozen=True, slots=True)
class Call:
    """A call of each API by the worker that has tokens of its own, and what must come of it.

    - `request`: in words
    - `first`, `second`: every status that the first and the second API answer, and which token was sent at last
    - `later`: seconds that pass before it, by the worker's clock
    - `asked`: token requests that reach the issuer meanwhile
    - `renewal`: why the last renewal failed, "" if it did not
    """

    request: str
    first: str
    second: str = "200 same token"
    later: float = 0
    asked: int = 0
    renewal: str = ""


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
            apis = (
                Api("FastAPI", "tokenguard._demo.fastapi_api", settings),
                Api("Flask", "tokenguard._demo.flask_api", settings),
            )
            services = (*apis, Worker("worker", "tokenguard._demo.worker", settings))
            for service in services:
                self.start(service, ending)
            secret = Path(ending.enter_context(tempfile.TemporaryDirectory())) / "secret"
            write(secret, self.issuer.add_client(CALLER))
            settings = {
                "TOKENGUARD_CLIENT_ISSUER": self.issuer.url,
                "TOKENGUARD_CLIENT_ID": CALLER,
                "TOKENGUARD_CLIENT_SECRET_FILE": str(secret),
                "TOKENGUARD_CLIENT_SCOPE": SCOPE,
                "DEMO_ORIGINS": " ".join(api.address for api in apis),
            }
            caller = Caller("caller", "tokenguard._demo.caller", settings)
            self.start(caller, ending)
            self.say()
            self.line("request", "service", "expected", "status", "WWW-Authenticate", "verdict")
            for row in self.requests(server, services, secret):
                if isinstance(row, Call):
                    self.call(row, caller, apis)
                    continue
                for service in services:
                    self.send(row, service)
        self.say()
        as_expected = self.rows - self.unexpected
        seconds = time.monotonic() - started
        self.say(f"{as_expected} of {self.rows} rows as expected, {seconds:.0f} s; everything is stopped again")

    def start(self, service: Service, ending: ExitStack) -> None:
        """Start it, and stop it at the end."""
        ending.enter_context(service)
        self.say(f"{service.name:8} {service.address}  process {service.pid}")

    def requests(self, server: DevelopmentServer, services: tuple[Service, ...], secret: Path) -> Iterator[Row | Call]:
        """The rows, and between them what happens to the issuer."""
        fake = self.issuer
        good = self.client_credentials(SCOPE)
        yield Row("good token", good)
        yield Row("same token again", good)
        yield Call("call, first token", "200 new token", asked=1)
        yield Call("call, token is there", "200 same token")
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
        yield Call("call, 401 once", "401 200 new token", asked=1)
        yield from self.renewals(secret)
        good = self.client_credentials(SCOPE)
        yield Row("good token", good)
        server.stop()
        time.sleep(1.5)  # the services' keys are fresh for one second, so they are stale now
        yield Row("issuer down", good)
        for service in services:
            service.restart()
        yield Row("restart, issuer down", good, 503)

    def renewals(self, secret: Path) -> Iterator[Call]:
        """What an API never sees of its caller: a changed secret, and an issuer that is down at renewal."""
        fake = self.issuer
        changed = fake.add_client(CALLER)
        yield Call("call, old secret", "200 same token", later=RENEWAL, asked=1, renewal="invalid_client")
        write(secret, changed)
        yield Call("call, new secret", "200 new token", later=PAUSE, asked=1)
        fake.publish("token", b"", status=503)
        yield Call("call, issuer down", "200 same token", later=RENEWAL, asked=1, renewal="status_503")
        fake.publish("token", None)
        yield Call("call, issuer is back", "200 new token", later=PAUSE, asked=1)

    def call(self, row: Call, caller: Caller, apis: tuple[Api, Api]) -> None:
        """Let the worker call each API, repeated until what runs in the background is done, then ask the issuer."""
        before, later = self.issuer.counters.token, row.later
        for api, expected in zip(apis, (row.first, row.second), strict=True):
            wanted = Reply(expected, renewal=row.renewal)
            deadline = time.monotonic() + PATIENCE
            reply = caller.call(api.address, later)
            while reply != wanted and time.monotonic() < deadline:
                time.sleep(0.05)
                reply = caller.call(api.address, 0)
            later = 0
            failed = f"(renewal failed: {reply.renewal})" if reply.renewal else "-"
            self.result(row.request, f"to {api.name}", expected, reply.status, failed, fits=reply == wanted, of=caller)
        asked = self.issuer.counters.token - before
        self.result(row.request, "issuer", _asked(row.asked), _asked(asked), "-", fits=asked == row.asked, of=caller)

    def send(self, row: Row, service: Service) -> None:
        """Send it, and repeat it within the row's patience until the answer is the expected one."""
        deadline = time.monotonic() + row.patience
        reply = service.ask(row.token)
        while not row.fits(service, reply) and time.monotonic() < deadline:
            time.sleep(0.2)
            reply = service.ask(row.token)
        challenge, _, _ = reply.challenge.partition(", error_description=")  # constant text, too wide for a table
        if reply.retry_after:
            challenge = f"(Retry-After: {reply.retry_after})"
        expected, fits = row.expected(service), row.fits(service, reply)
        self.result(row.request, service.name, expected, reply.status, challenge or "-", fits=fits, of=service)

    def result(
        self, request: str, name: str, expected: str, status: str, challenge: str, *, fits: bool, of: Service
    ) -> None:
        """Count a row and show it, and what the process wrote if it is not as expected."""
        self.rows += 1
        self.unexpected += not fits
        self.line(request, name, expected, status, challenge, "ok" if fits else "UNEXPECTED")
        if not fits:
            self.say(of.log())

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


def write(path: Path, client: Client) -> None:
    """Replace the file with the client's secret in one step, as a platform does: half of it is never read."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(client.secret or "", "utf-8")
    new.replace(path)


def _asked(count: int) -> str:
    return f"{count or 'no'} token request{'' if count == 1 else 's'}"


def run(out: TextIO | None = None) -> int:
    """Run the demonstration on `out` (default: standard output). Returns 0 if every row was as expected, else 1."""
    demonstration = Demonstration(out or sys.stdout)
    demonstration.show()
    return 1 if demonstration.unexpected else 0
