"""Real servers: the CPU time that a request costs the server, unprotected against protected.

A pair of servers runs on one core, the client on another. The client speaks to one and then to the other for a second
or so each, over and over; a ratio is taken from neighbours. CPU time comes from the kernel (/proc/PID/schedstat), so a
slow client does not matter much; an unprotected server against its own twin tells what the machine can resolve.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corpus
from contenders.frameworks import PATH
from interleave import HERE, Plan, spread

CONNECTIONS = 32
SERVERS = {
    "starlette": ("uvicorn", "--loop", "uvloop", "--http", "httptools", "--log-level", "warning", "--no-access-log"),
    "fastapi": ("uvicorn", "--loop", "uvloop", "--http", "httptools", "--log-level", "warning", "--no-access-log"),
    "flask": ("gunicorn", "--workers", "1", "--threads", "4", "--worker-class", "gthread", "--log-level", "error"),
}
# What the issue promises: unprotected CPU / protected CPU, at least.
PAIRS = (
    ("none", "unprotected, again"),
    ("tokenguard", "tokenguard, remembered"),
    ("bare", "bare verify(), every token new"),
    ("tokenguard", "tokenguard, every token new"),
    ("pyjwt", "PyJWT as its documentation says"),
)


@dataclass
class Running:
    pid: int
    port: int


@contextmanager
def _serve(framework: str, guard: str, jwks_base: str, plan: Plan, core: int | None) -> Iterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program, *options = SERVERS[framework]
    # Not by an inherited socket: uvicorn takes one for a Unix socket, leaves TCP_NODELAY out, and answers after 40 ms.
    place = ["--port", str(port)] if program == "uvicorn" else ["--no-control-socket", "--bind", f"127.0.0.1:{port}"]
    path = os.pathsep.join(filter(None, (os.environ.get("BENCH_SOURCE"), str(HERE))))
    process = subprocess.Popen(
        [sys.executable, "-m", program, *options, *place, "served:made"],
        env={
            **os.environ,
            "PYTHONPATH": path,
            "BENCH_FRAMEWORK": framework,
            "BENCH_GUARD": guard,
            "BENCH_JWKS": jwks_base,
            "BENCH_COUNT": str(plan.count),
        },
        stdin=subprocess.DEVNULL,
    )
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    try:
        yield Running(process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process, its threads and its children so far."""
    total = 0
    for member in family(pid):
        for task in Path(f"/proc/{member}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except FileNotFoundError:  # a thread that ended
                continue
    return total / 1e9


class _Client(asyncio.Protocol):
    """One connection that sends its next request when it has the answer."""

    def __init__(self, requests: Iterator[bytes], counted: list[int], bad: list[bytes]) -> None:
        self._requests, self._counted, self._bad = requests, counted, bad
        self._received = b""
        self._transport: Any = None
        self.stopping = False
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        lowered = head.lower()
        at = lowered.index(b"content-length:") + 15
        if len(body) < int(lowered[at:].split(b"\r\n", 1)[0]):
            return
        self._received = b""
        if b" 200 " not in head[:16]:
            self._bad.append(head)
            self.stopping = True
        self._counted[0] += 1
        if self.stopping:
            self._transport.close()
        else:
            self._transport.write(next(self._requests))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def drive(port: int, requests: Iterator[bytes], seconds: float) -> int:
    """How many of `requests` were answered in `seconds`.

    The client never sleeps. One that waits for a slow server has to be woken by it at each answer, on another core: 10
    of 78 microseconds for a new token were that. An unprotected server, which keeps its client busy, has none of it.
    """
    counted, bad = [0], list[bytes]()
    running = asyncio.get_running_loop()

    def stay_awake() -> None:
        nonlocal awake
        awake = running.call_soon(stay_awake)

    awake = running.call_soon(stay_awake)
    clients = [
        (await running.create_connection(lambda: _Client(requests, counted, bad), "127.0.0.1", port))[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(seconds)
    for client in clients:
        client.stopping = True
    await asyncio.wait([client.done for client in clients], timeout=10)
    awake.cancel()
    if bad:
        raise RuntimeError(f"a request was not answered 200: {bad[0]!r}")
    return counted[0]


def _requests(tokens: Sequence[str]) -> Iterator[bytes]:
    ready = [
        f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        for token in tokens
    ]
    while True:
        yield from ready


def measure(framework: str, plan: Plan, jwks_base: str, *, seconds: float, pairs: int) -> dict[str, Any]:
    """Every guard of a framework against its unprotected twin."""
    import uvloop

    tokens = corpus.load("RS256", plan.count).tokens
    cores = sorted(os.sched_getaffinity(0))
    server_core, client_core = (cores[-1], cores[0]) if len(cores) > 1 else (None, None)
    before = os.sched_getaffinity(0)
    if client_core is not None:
        os.sched_setaffinity(0, {client_core})
    results: dict[str, Any] = {}
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for guard, name in PAIRS:
                sent = tokens if name.endswith("new") else tokens[:50]
                with ExitStack() as stack:
                    twin = stack.enter_context(_serve(framework, "none", jwks_base, plan, server_core))
                    guarded = stack.enter_context(_serve(framework, guard, jwks_base, plan, server_core))
                    rates = list[float]()
                    streams = {twin.pid: _requests(sent), guarded.pid: _requests(sent)}

                    def slice_(
                        server: Running,
                        spent: float,
                        streams: dict[int, Iterator[bytes]] = streams,
                        runner: asyncio.Runner = runner,
                        rates: list[float] = rates,
                    ) -> float:
                        start = cpu_seconds(server.pid)
                        count = runner.run(drive(server.port, streams[server.pid], spent))
                        rates.append(count / spent)
                        return (cpu_seconds(server.pid) - start) / count * 1e6

                    for server in (twin, guarded):
                        wait_for(server.port, next(streams[server.pid]))
                        slice_(server, seconds / 2)
                    ratios, costs = [], {twin.pid: list[float](), guarded.pid: list[float]()}
                    for number in range(pairs):
                        order = (twin, guarded) if number % 2 else (guarded, twin)
                        for server in order:
                            costs[server.pid].append(slice_(server, seconds))
                        ratios.append(costs[twin.pid][-1] / costs[guarded.pid][-1])
                    results[name] = {
                        "ratio": spread(ratios),
                        "microseconds": spread(costs[guarded.pid]),
                        "twin_microseconds": spread(costs[twin.pid]),
                        "pairs": pairs,
                        # Under some thousands a server was idle in between and its caches cold: not quiet enough.
                        "requests_per_second": spread(rates),
                    }
    finally:
        os.sched_setaffinity(0, before)
    return results


def wait_for(port: int, request: bytes) -> None:
    """Until the server answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as one:
                one.sendall(request)
                if one.recv(1):
                    return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
