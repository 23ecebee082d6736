"""The troubles, one after the other, while clients ask and a worker fetches tokens."""

from __future__ import annotations

import asyncio
import inspect
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from math import inf
from typing import Any

import redis

from soak.clients import GrpcClient, HttpClient
from soak.issuer import FAULTS
from soak.report import Tally
from soak.servers import SERVERS, serve
from soak.tokens import BOUND, GRACE, LEAD, NEEDS, SETTLED, SIGNED, Token
from soak.world import STEP, World
from tokenguard import TokenGuardError
from tokenguard.client import TokenSource

PAUSE = 0.05  # of the worker between two calls


@dataclass
class Troubles:
    """What is in trouble, or was a moment ago."""

    until: dict[str, float] = field(default_factory=dict)

    def begin(self, flag: str | None) -> None:
        if flag is not None:
            self.until[flag] = inf

    def end(self, flag: str | None) -> None:
        if flag is not None:
            self.until[flag] = time.monotonic() + GRACE[flag]

    def now(self) -> set[str]:
        moment = time.monotonic()
        return {flag for flag, until in self.until.items() if moment < until}


@dataclass(frozen=True)
class Plan:
    """For how long, and how hard. `fault` and `calm`: seconds of each trouble, and after it."""

    requests: int = 0
    minutes: float = 0
    fault: float = 2.0
    calm: float = 5.0
    connections: int = 32
    rest: float = 0.0  # of a connection between two requests
    guard: str = "tokenguard"
    timeout: float = 1.0  # of the server's calls to the issuer and to Redis
    is_whole: bool = True  # a whole schedule at least


class Soak:
    """One server, one schedule. Ends when the plan is fulfilled."""

    def __init__(self, server: str, plan: Plan) -> None:
        self.server, self.plan = server, plan
        self.tally, self.troubles = Tally(), Troubles()
        self.step, self.cycles = "start", 0
        self.series: list[dict[str, float]] = []
        self._under_way: dict[object, Token] = {}  # what is sent by requests without an answer
        self._at, self._is_ending = 0, False

    def run(self) -> dict[str, Any]:
        with ExitStack() as stack:
            self.world = World(stack, self.plan.timeout, takes_proofs=SERVERS[self.server].takes_proofs)
            log = self.world.clock_file.with_name("log")
            self.serving = stack.enter_context(serve(self.server, self.world, self._settings(), log))
            found = asyncio.run(self._run())
            return found | ({"log": log.read_text("utf-8", "replace")[-20_000:]} if found["wrong"] else {})

    def _settings(self) -> dict[str, str]:
        first = [self.world.pools[kind][0] for kind in ("good jwt", "other issuer")]
        return {
            "SOAK_TOKENS": " ".join(str(token.text) for token in (*first, *self.world.pools["tenant"])),
            "SOAK_ISSUER": self.world.url,
            "SOAK_REDIS": self.world.redis.url,
            "SOAK_CLOCK": str(self.world.clock_file),
            "SOAK_GUARD": self.plan.guard,
            "SOAK_TIMEOUT": str(self.plan.timeout),
        }

    async def _run(self) -> dict[str, Any]:
        await self._ready()
        url, timeout = self.world.url, self.plan.timeout
        source = TokenSource(
            url, "worker", "secret", token_endpoint=f"{url}/token", allow_insecure_http=True, http_timeout=timeout
        )
        await source.token_async()
        self.started = time.monotonic()
        sizes = {"start": self.serving.size()}
        clients = [asyncio.ensure_future(self._client()) for _ in range(self.plan.connections)]
        clients.append(asyncio.ensure_future(self._worker(source)))
        while not self._is_over(0.5):
            await self._cycle(lambda: self._is_over(0.5))
        sizes["half"] = self.serving.size()
        while not self._is_done():
            await self._cycle(self._is_done)
        sizes["end"] = self.serving.size()
        self._is_ending = True
        await asyncio.gather(*clients)
        tally = self.tally
        return {
            "server": self.server,
            "requests": tally.requests,
            "seconds": round(time.monotonic() - self.started, 1),
            "schedules": self.cycles,
            "wrong": sum(tally.wrong.values()),
            "wrong_by_kind": [[*key, count] for key, count in tally.wrong.items()],
            "examples": tally.examples,
            "counts": tally.by_kind(),
            "milliseconds": {"calm": tally.quantiles(troubled=False), "in trouble": tally.quantiles(troubled=True)},
            "sizes": sizes,
            "series": self.series,
        }

    def _is_over(self, share: float) -> bool:
        elapsed = time.monotonic() - self.started
        return self.tally.requests >= share * self.plan.requests and elapsed >= share * 60 * self.plan.minutes

    def _is_done(self) -> bool:
        return self._is_over(1) and (self.cycles > 0 or not self.plan.is_whole)

    # -- the schedule

    async def _cycle(self, is_over: Any) -> None:
        begin, end = self.world.fail, partial(self.world.fail, None)
        issuer = [(f"issuer: {fault}", "issuer", partial(begin, fault), end) for fault in FAULTS]
        beside = partial(partial, asyncio.to_thread)
        issuer.append(("issuer: killed", "issuer", beside(self.world.kill_issuer), beside(self.world.start_issuer)))
        stop, go = signal.SIGSTOP, signal.SIGCONT
        others = [
            ("redis: killed", "redis", beside(self.world.redis.kill), beside(self.world.redis.start)),
            ("clock: ahead", None, partial(self.world.step, STEP), partial(self.world.step, 0)),
            ("redis: frozen", "redis", partial(self._freeze, stop), partial(self._freeze, go)),
            ("clock: back", None, partial(self.world.step, -STEP), partial(self.world.step, 0)),
            ("redis: full", "full", partial(self._limit, 1), partial(self._limit, 0)),
            ("keys: rotated", None, self._publish, self._rotate),
            ("server: stopped", "server", partial(self.serving.signal, stop), partial(self.serving.signal, go)),
        ]
        if SERVERS[self.server].is_edge:
            others += [
                ("gateway: worker killed", "server", self.serving.kill_worker, _nothing),
                ("proxy: reloaded", None, self.serving.reload, _nothing),
            ]
        both = [one for pair in zip_longest(issuer, others) for one in pair if one is not None]
        for name, flag, start, finish in both[self._at :]:
            await self._step(name, flag, start, finish)
            self._at += 1
            if is_over():
                break
        if self._at == len(both):
            self._at = 0
            self.cycles += 1

    async def _step(self, name: str, flag: str | None, start: Any, finish: Any) -> None:
        self.step = name
        self.world.renew()
        await asyncio.sleep(self.plan.calm / 2)
        self.troubles.begin(flag)
        await _done(start())
        half = (max(self.plan.fault, LEAD) if name == "keys: rotated" else self.plan.fault) / 2
        await asyncio.sleep(half)
        await self.world.revoke()
        await asyncio.sleep(half)
        await _done(finish())
        self.troubles.end(flag)
        await asyncio.sleep(self.plan.calm / 2)
        await self.world.revoke()
        slowest = sorted(self.tally.taken())
        p99 = round(1_000 * slowest[len(slowest) * 99 // 100], 2) if slowest else 0.0
        self.series.append({"seconds": round(time.monotonic() - self.started, 1), "p99 ms": p99} | self.serving.size())

    def _freeze(self, number: int) -> None:
        self.world.redis.signal(number)

    def _limit(self, octets: int) -> None:
        with redis.Redis(port=self.world.redis.port) as client:
            client.config_set("maxmemory", octets)

    def _publish(self) -> None:
        """The next key, ahead of its use (RFC 7517 section 5 has both in the set); the one before the last goes."""
        self._next = self.world.mint.unpublished_key()
        old = self.world.mint.keys[-1]
        self.world.mint.sign_with([old, self._next])
        self.world.write()

    def _rotate(self) -> None:
        """Sign with it; withdraw the old one."""
        world, moment = self.world, time.monotonic()
        # Those under way may arrive after the server has fetched the new set.
        old = [token for token in self._under_way.values() if token.kind in SIGNED]
        for kind in SIGNED:
            old += world.pools[kind]
            world.pools["withdrawn key"].extend(world.pools[kind])
            world.pools[kind].clear()
        old += world.issued.values()
        for token in old:
            token.kind = "withdrawn key"
        bound = [token for token in self._under_way.values() if token.kind in BOUND]
        for token in (*old, *bound, *world.pools["good bound jwt"], *world.pools["no proof"]):
            token.ending, token.ended = min(moment, token.ending), min(moment + SETTLED["key"], token.ended)
        world.pools["good bound jwt"].clear()
        world.pools["no proof"].clear()
        world.mint.sign_with([self._next])
        for _ in range(30):
            world.add("good jwt", world.jwt())
            world.bind()
        world.forge()
        world.renew()

    # -- the clients

    async def _ready(self) -> None:
        """Until a good token is accepted."""
        deadline = time.monotonic() + 60
        async with SERVERS[self.server].client(self.serving.port) as client:
            while (status := await client.ask(self.world.pools["good jwt"][0].fields())) != "200":
                if time.monotonic() > deadline:
                    raise RuntimeError(f"a good token is answered {status} at the start")
                await asyncio.sleep(0.1)

    async def _client(self) -> None:
        async with SERVERS[self.server].client(self.serving.port) as client:
            while not self._is_ending:
                await self._ask(client, self.world.draw())
                await asyncio.sleep(self.plan.rest)

    async def _ask(self, client: HttpClient | GrpcClient, token: Token) -> None:
        fields = token.fields()
        step, troubles, since = self.step, self.troubles.now(), len(self.world.offsets) - 1
        request = object()
        self._under_way[request] = token
        sent = time.monotonic()
        status = await client.ask(fields)
        answered = time.monotonic()
        del self._under_way[request]
        troubles |= self.troubles.now()
        right = token.statuses(sent, answered, self.world.offsets[since:])
        if troubles & NEEDS[token.kind]:
            right.add(503)
        # A proxy has nothing to show where a worker has gone, or where a token became good while it was rejected.
        if SERVERS[self.server].is_edge and ("server" in troubles or right >= {200, 401}):
            right.add(503)
        self.tally.add(token, status, right, troubles, step, answered - sent)
        if token.kind == "good bound jwt" and status == "200":
            self.world.used(token, fields)

    async def _worker(self, source: TokenSource) -> None:
        """A service that calls the server: its token source has a token through every trouble of the issuer."""
        async with source, SERVERS[self.server].client(self.serving.port) as client:
            while not self._is_ending:
                step, troubles, sent = self.step, self.troubles.now(), time.monotonic()
                try:
                    text = (await source.token_async()).access_token
                    outcome = "token" if text in self.world.issued else "a token that was not issued"
                except TokenGuardError as error:
                    outcome = type(error).__name__
                self.tally.fetched(outcome, troubles | self.troubles.now(), step, time.monotonic() - sent)
                if outcome == "token":
                    await self._ask(client, self.world.issued[text])
                await asyncio.sleep(PAUSE)


def _nothing() -> None:
    """How a trouble ends that ends by itself."""


async def _done(result: Any) -> None:
    """What waits for a process does so in a thread, beside the clients; everything else is one step for them."""
    if inspect.isawaitable(result):
        await result
