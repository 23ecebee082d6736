"""A soak: real servers behind tokenguard while everything that they ask fails in turn. A wrong outcome is exit 1.

    python bench/soak.py [--minutes M | --requests N] [--server uvicorn|gunicorn|both] [--json FILE]

A number of connections send tokens of every kind, each the next when it has its answer. Beside them runs a schedule:
the issuer (`soak_issuer.py`) fails in each of its ways, is killed, rotates its keys; Redis is killed, frozen, full; the
server is stopped for a moment; its wall clock steps. For each request it is known which statuses are right: that of the
token, and 503 only while what this token needs is in trouble, or was so until a moment ago.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import json
import mmap
import os
import random
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests" / "support")]

import redis  # noqa: E402
from listeners import held_port  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from soak_issuer import FAULTS  # noqa: E402

from tokenguard import RevocationList, UnavailableError  # noqa: E402
from tokenguard.redis import RedisStore  # noqa: E402
from tokenguard.testing import FakeIssuer  # noqa: E402

SERVERS = {
    "uvicorn": ("uvicorn", "--log-level", "warning", "--no-access-log", "--timeout-keep-alive", "75", "--port"),
    "gunicorn": (
        *("gunicorn", "--no-control-socket", "--workers", "2", "--worker-class", "gthread", "--threads", "8"),
        *("--keep-alive", "75", "--log-level", "error", "--bind"),
    ),
}
APPS = {"uvicorn": "soak_app:over_asgi", "gunicorn": "soak_app:over_wsgi"}

HOUR = 3_600
STEP = 600  # seconds by which the wall clock steps, either way
ANSWER_LIMIT = 30.0  # seconds until a request counts as not answered

# For how many seconds after a trouble 503 is still right: the last pause that it may have begun, with soak_app.SPEED,
# and one exchange that hangs until its timeout. It is shorter than the calm after each trouble.
GRACE = {"issuer": 3.5, "redis": 2.0, "server": 2.0}
# From when on a change must be in force: an answer lives in Redis for soak_app.CACHE_TTL, keys are fetched each second.
SETTLED = {"opaque": 2.5, "key": 4.0}
LEAD = 3.0  # how long a key is published before it signs: held sets are a second old at most

ISSUER, REDIS, SERVER = frozenset({"issuer"}), frozenset({"redis"}), frozenset({"server"})
# What each kind needs: only trouble there makes 503 right.
NEEDS = {
    "good jwt": REDIS | SERVER,  # keys that are held serve through any trouble of the issuer
    "good opaque": ISSUER | REDIS | SERVER,
    "ends soon, jwt": REDIS | SERVER,
    "ends soon, opaque": ISSUER | REDIS | SERVER,
    "young jwt": REDIS | SERVER,
    "revoked jwt": REDIS | SERVER,
    "revoked opaque": ISSUER | REDIS | SERVER,
    "withdrawn key": ISSUER | REDIS | SERVER,
    "unknown opaque": ISSUER | REDIS | SERVER,
    "expired": frozenset[str](),
    "wrong audience": frozenset[str](),
    "alg none": frozenset[str](),
    "public key as secret": frozenset[str](),
    "forged": ISSUER | SERVER,  # a key may have been replaced under its name: the set is fetched again
    "tampered": ISSUER | SERVER,
    "unknown kid": ISSUER | SERVER,
    "no token": frozenset[str](),
}
WEIGHTS = {"good jwt": 40, "good opaque": 20, "revoked jwt": 8, "revoked opaque": 8, "unknown opaque": 2}


@dataclass
class Token:
    """A token, and from when on it is bad: between `ending` and `ended` either outcome is right."""

    kind: str
    text: str | None
    ending: float = inf
    ended: float = inf
    good_at: frozenset[int] | None = None  # the offsets of the clock at which it is good; None: at any

    def statuses(self, sent: float, answered: float, offsets: Sequence[int]) -> set[int]:
        right = set[int]()
        for offset in set(offsets):
            good = self.good_at is None or offset in self.good_at
            if good and sent < self.ended:
                right.add(200)
            if not good or answered >= self.ending:
                right.add(401)
        return right


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


class World:
    """The issuer, Redis, the clock of the server, and the tokens."""

    def __init__(self, stack: ExitStack, timeout: float) -> None:
        self._timeout = timeout
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._port = stack.enter_context(held_port())
        self.url = f"http://127.0.0.1:{self._port}"
        self.mint = FakeIssuer(self.url, algorithm="ES256", clock=time.time)
        self.offsets = [0]
        self.clock_file = scratch / "clock"
        self.clock_file.write_bytes(struct.pack("d", 0))
        with self.clock_file.open("r+b") as file:
            self._clock = stack.enter_context(contextlib.closing(mmap.mmap(file.fileno(), 8)))
        self._file, self._fault, self._answers = scratch / "world.json", None, dict[str, Any]()
        self._process: subprocess.Popen[bytes] | None = None
        # What was revoked must outlive the process: with appendonly, Redis writes before it answers.
        self.redis = stack.enter_context(RedisServer("--appendonly", "yes"))
        self._store = RedisStore(self.redis.url)
        stack.callback(self._store.close)
        self._list = RevocationList(self._store)
        self._ids: dict[str, str] = {}
        self._pending: list[Token] = []
        self.pools: dict[str, deque[Token]] = {kind: deque(maxlen=30) for kind in NEEDS}
        self.pools["no token"].append(Token("no token", None, -inf, -inf))
        for _ in range(30):
            self.add("good jwt", self.jwt())
            self.add("good opaque", self.opaque())
        self.forge()
        self.renew()
        self.start_issuer()
        stack.callback(self.kill_issuer)

    # -- tokens

    def add(self, kind: str, text: str, **facts: Any) -> Token:
        token = Token(kind, text, **facts)
        self.pools[kind].append(token)
        return token

    def jwt(self, **claims: Any) -> str:
        claims = {"expires_in": 24 * HOUR, "iat": int(time.time()) - HOUR, "jti": secrets.token_hex(8)} | claims
        text = self.mint.mint(**claims)
        self._ids[text] = claims["jti"]
        return text

    def opaque(self, **claims: Any) -> str:
        text = self.mint.mint_opaque(**({"expires_in": 24 * HOUR, "iat": int(time.time()) - HOUR} | claims))
        self._answers[text] = self.mint.introspect(text)
        return text

    def forge(self) -> None:
        """Tokens that are bad at any time, of the present key: one of a withdrawn key needs a look at the set."""
        bad = partial(self.add, ending=-inf, ended=-inf)
        for kind in ("expired", "wrong audience", "alg none", "public key as secret", "forged", "tampered"):
            self.pools[kind].clear()
        for _ in range(5):
            bad("expired", self.mint.expired(seconds=2 * STEP))
            bad("wrong audience", self.mint.wrong_audience(expires_in=24 * HOUR, iat=int(time.time()) - HOUR))
            bad("alg none", self.mint.alg_none())
            bad("public key as secret", self.mint.hs256_with_public_key())
            bad("forged", self.mint.forged_signature())
            bad("tampered", self.mint.tampered_signature())
            bad("unknown kid", self.mint.unknown_kid())

    def renew(self) -> None:
        """Tokens whose time is a matter of the clock, and such as will be revoked."""
        before_the_end = frozenset({0, -STEP})
        self.add("ends soon, jwt", self.jwt(expires_in=STEP / 2), good_at=before_the_end)
        self.add("ends soon, opaque", self.opaque(expires_in=STEP / 2), good_at=before_the_end)
        self.add("young jwt", self.jwt(nbf=int(time.time()) - 60), good_at=frozenset({0, STEP}))
        self.add("revoked jwt", self.jwt())
        self.add("revoked opaque", self.opaque())
        for kind in ("ends soon, jwt", "ends soon, opaque"):
            while len(self.pools[kind]) > 3:  # their time is short by the true clock, too
                self.pools[kind].popleft()
        self.write()

    def draw(self) -> Token:
        kind = random.choices(_KINDS, _SHARES)[0]
        if kind == "unknown opaque":
            return Token(kind, secrets.token_urlsafe(32), -inf, -inf)
        if kind == "good jwt" and random.random() < 0.1:
            return Token(kind, self.jwt())
        return random.choice(self.pools[kind] or self.pools["good jwt"])

    async def revoke(self) -> None:
        """Revoke the newest of each kind. Redis may be in trouble: then nothing was revoked, perhaps."""
        opaque = self.pools["revoked opaque"][-1]
        if opaque.ending == inf:
            opaque.ending = time.monotonic()
            self._answers[opaque.text] = {"active": False}
            self.write()
            # A question that was sent before is shared until its end, which is at most the timeout away.
            opaque.ended = time.monotonic() + max(SETTLED["opaque"], self._timeout + 0.5)
        jwt = self.pools["revoked jwt"][-1]
        if jwt.ending == inf:
            jwt.ending = time.monotonic()
            self._pending.append(jwt)
        for token in tuple(self._pending):
            with contextlib.suppress(UnavailableError):
                await self._list.revoke_async(self.url, self._ids[token.text], time.time() + 25 * HOUR)
                token.ended = time.monotonic()
                self._pending.remove(token)

    # -- the issuer

    def write(self) -> None:
        forged = {"keys": {"keys": [self.mint.stranger().jwk()]}, "answer": {**self.mint.claims(), "active": True}}
        world = {"keys": self.mint.jwks(), "answers": self._answers, "forged": forged, "fault": self._fault}
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(world))
        new.replace(self._file)

    def fail(self, fault: str | None) -> None:
        self._fault = fault
        self.write()

    def start_issuer(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "soak_issuer.py"), str(self._port), str(self._file)], stdin=subprocess.DEVNULL
        )
        _await(self._port, self._process)

    def kill_issuer(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    # -- the clock

    def step(self, offset: int) -> None:
        """Requests that are under way may be judged by either time."""
        self.offsets.append(offset)
        self._clock[:] = struct.pack("d", offset)


_KINDS = list(NEEDS)
_SHARES = [WEIGHTS.get(kind, 3) for kind in _KINDS]


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until somebody listens."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("a process of the soak does not listen")
        time.sleep(0.02)


class Serving:
    """The server's processes."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def family(self) -> list[int]:
        found = [self.process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended
                    found += map(int, (task / "children").read_text().split())
        return found

    def signal(self, number: int) -> None:
        for pid in self.family():
            os.kill(pid, number)

    def size(self) -> dict[str, float]:
        """Of all its processes: resident memory, threads, descriptors."""
        family = self.family()
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in family)
        return {
            "megabytes": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
            "threads": sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in family),
            "descriptors": sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in family),
        }


@contextmanager
def serve(server: str, world: World, plan: Plan, log: Path) -> Iterator[Serving]:
    with held_port() as port, log.open("wb") as written:
        program, *options = SERVERS[server]
        place = str(port) if server == "uvicorn" else f"127.0.0.1:{port}"
        process = subprocess.Popen(
            [sys.executable, "-m", program, *options, place, APPS[server]],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH")))),
                "SOAK_ISSUER": world.url,
                "SOAK_REDIS": world.redis.url,
                "SOAK_CLOCK": str(world.clock_file),
                "SOAK_GUARD": plan.guard,
                "SOAK_TIMEOUT": str(plan.timeout),
            },
            stdin=subprocess.DEVNULL,
            stderr=written,
        )
        try:
            _await(port, process)
            yield Serving(process, port)
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class Tally:
    """What was seen."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    requests: int = 0

    def add(self, token: Token, status: str, right: set[int], troubles: set[str], step: str, took: float) -> None:
        self.requests += 1
        self.counts[token.kind, status] += 1
        self.seconds[bool(troubles)].append(took)
        if status not in map(str, right):
            self.wrong[token.kind, status, step] += 1
            if len(self.examples) < 50:
                self.examples.append(
                    {"kind": token.kind, "status": status, "right": sorted(right), "during": step}
                    | {"troubles": sorted(troubles), "seconds": round(took, 3), "request": self.requests}
                )

    def quantiles(self, *, troubled: bool) -> dict[str, float]:
        taken = sorted(self.seconds[troubled])
        if not taken:
            return {}
        return {f"p{share}": round(1_000 * taken[len(taken) * share // 100], 2) for share in (50, 99)}


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
        self._at, self._is_ending = 0, False

    def run(self) -> dict[str, Any]:
        with ExitStack() as stack:
            self.world = World(stack, self.plan.timeout)
            log = self.world.clock_file.with_name("log")
            self.serving = stack.enter_context(serve(self.server, self.world, self.plan, log))
            found = asyncio.run(self._run())
            return found | ({"log": log.read_text("utf-8", "replace")[-20_000:]} if found["wrong"] else {})

    async def _run(self) -> dict[str, Any]:
        await asyncio.gather(*(self._warm() for _ in range(self.plan.connections)))
        self.started = time.monotonic()
        sizes = {"start": self.serving.size()}
        clients = [asyncio.ensure_future(self._client()) for _ in range(self.plan.connections)]
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
            "counts": {
                kind: {status: n for (of, status), n in sorted(tally.counts.items()) if of == kind} for kind in NEEDS
            },
            "milliseconds": {"calm": tally.quantiles(troubled=False), "in trouble": tally.quantiles(troubled=True)},
            "sizes": sizes,
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
            ("redis: full", None, partial(self._limit, 1), partial(self._limit, 0)),
            ("keys: rotated", None, self._publish, self._rotate),
            ("server: stopped", "server", partial(self.serving.signal, stop), partial(self.serving.signal, go)),
        ]
        both = [one for pair in zip(issuer, [*others, None], strict=True) for one in pair if one is not None]
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
        for kind in ("good jwt", "ends soon, jwt", "young jwt", "revoked jwt"):
            for token in tuple(world.pools[kind]):
                withdrawn = Token("withdrawn key", token.text, min(moment, token.ending), moment + SETTLED["key"])
                world.pools["withdrawn key"].append(withdrawn)
            world.pools[kind].clear()
        world.mint.sign_with([self._next])
        for _ in range(30):
            world.add("good jwt", world.jwt())
        world.forge()
        world.renew()

    # -- the clients

    async def _warm(self) -> None:
        """Until each worker has keys: one that never had any rightly answers 503."""
        request = _request(self.world.pools["good jwt"][0])
        deadline = time.monotonic() + 60
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.serving.port)
            status = await _exchange(reader, writer, request)
            writer.close()
            if status == "200":
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"a good token is answered {status} at the start")
            await asyncio.sleep(0.1)

    async def _client(self) -> None:
        writer: asyncio.StreamWriter | None = None
        while not self._is_ending:
            token = self.world.draw()
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.serving.port)
            step, troubles, since = self.step, self.troubles.now(), len(self.world.offsets) - 1
            sent = time.monotonic()
            status = await _exchange(reader, writer, _request(token))
            answered = time.monotonic()
            troubles |= self.troubles.now()
            right = token.statuses(sent, answered, self.world.offsets[since:])
            if troubles & NEEDS[token.kind]:
                right.add(503)
            self.tally.add(token, status, right, troubles, step, answered - sent)
            if not status.isdigit():
                writer.close()
                writer = None
            await asyncio.sleep(self.plan.rest)
        if writer is not None:
            writer.close()


async def _done(result: Any) -> None:
    """What waits for a process does so in a thread, beside the clients; everything else is one step for them."""
    if inspect.isawaitable(result):
        await result


def _request(token: Token) -> bytes:
    sent = "" if token.text is None else f"Authorization: Bearer {token.text}\r\n"
    return f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{sent}\r\n".encode()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> str:
    """The status; or why there is none."""
    try:
        async with asyncio.timeout(ANSWER_LIMIT):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            at = head.index(b"content-length:") + 15
            await reader.readexactly(int(head[at:].split(b"\r\n", 1)[0]))
            return head[9:12].decode()
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        return type(error).__name__


def table(found: dict[str, Any]) -> str:
    """The short form of one server's result."""
    lines = [f"{found['server']}: {found['requests']:,} requests in {found['seconds']:,.0f} s"]
    lines[0] += f", {found['schedules']} schedules, {found['wrong']} wrong outcomes"
    for kind, statuses in found["counts"].items():
        lines.append(f"  {kind:22}" + "".join(f"{status:>6} {n:>8,}" for status, n in statuses.items()))
    for name, taken in found["milliseconds"].items():
        lines.append(f"  {name + ', ms':22}" + "".join(f"{key:>6} {value:>8}" for key, value in taken.items()))
    for name, size in found["sizes"].items():
        lines.append(f"  {name:22}" + ", ".join(f"{value:g} {key}" for key, value in size.items()))
    for *key, count in found["wrong_by_kind"]:
        lines.append(f"  WRONG {' | '.join(key)}: {count}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0, help="for each server, and a whole schedule at least")
    parser.add_argument("--requests", type=int, default=0, help="the same")
    parser.add_argument("--server", choices=[*SERVERS, "both"], default="both")
    parser.add_argument("--json", type=Path, help="where the whole result goes")
    chosen = parser.parse_args(arguments)
    results = []
    for server in SERVERS if chosen.server == "both" else [chosen.server]:
        results.append(Soak(server, Plan(chosen.requests, chosen.minutes)).run())
        print(table(results[-1]), flush=True)
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(results, indent=1) + "\n")
    return 1 if any(one["wrong"] for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
