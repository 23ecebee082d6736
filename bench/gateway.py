"""The gateway: what it adds to a request that nginx passes on, beside nginx alone and beside an app written with PyJWT.

Latency: one connection sends one request after the other, to each proxy in turns, as the printed configuration has it.
Throughput: 32 connections of `wrk`, which takes little of the workers' cores, keep a server busy; the CPU time comes
from the kernel. What a gateway can answer follows from the CPU time of its busiest worker.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import corpus
import servers
from interleave import HERE, Plan, spread

PATH = "/orders"
CONFIG = """
[validator]
issuer = "{issuer}"
audience = "{audience}"
jwks_uri = "{base}/RS256"
allow_insecure_http = true

[[routes]]
path = "/orders"
scope = "orders:read"
"""
PLAIN = """
worker_processes 1;
pid {name}.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {name}-1; proxy_temp_path {name}-2; fastcgi_temp_path {name}-3; uwsgi_temp_path {name}-4;
    scgi_temp_path {name}-5;
    upstream api {{ server 127.0.0.1:{api}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{port};
        keepalive_requests 1000000;
        location / {{ {what} }}
    }}
}}
"""
ANSWERS = 'default_type text/plain; return 200 "ok";'
PASSES = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://api;'

OURS, PYJWT, ALONE = "nginx with tokenguard", "nginx with an app on PyJWT", "nginx alone"


def measure(plan: Plan, base: str, *, seconds: int, rounds: int, count: int) -> dict[str, Any]:
    """Nothing where there is no nginx or no wrk."""
    if shutil.which("wrk") is None or (shutil.which("nginx") is None and not Path("/usr/sbin/nginx").exists()):
        print("nginx and wrk are not both here, so the gateway is not measured", flush=True)
        return {}
    tokens = corpus.load("RS256", plan.count).tokens
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = folder / "gateway.toml"
        config.write_text(CONFIG.format(issuer=corpus.ISSUER, audience=corpus.AUDIENCE, base=base), "utf-8")
        api, alone, peer = (_free_port() for _ in range(3))
        one, two = _free_port(), _free_port()
        stack.enter_context(_nginx(folder, "api", PLAIN.format(name="api", port=api, api=api, what=ANSWERS), api))
        stack.enter_context(
            _nginx(folder, "alone", PLAIN.format(name="alone", port=alone, api=api, what=PASSES), alone)
        )
        ours = stack.enter_context(_gateway(config, one, 1, tokens[0]))
        pair = stack.enter_context(_gateway(config, two, 2, tokens[0]))
        stack.enter_context(_peer(peer, f"{base}/RS256", tokens[0]))
        ports = {ALONE: alone}
        for name, asked in ((OURS, one), (PYJWT, peer)):
            ports[name] = _free_port()
            stack.enter_context(_asking(folder / str(ports[name]), config, asked, api, ports[name], tokens[0]))
        return {
            "latency": _latency(ports, tokens[:50], rounds, count),
            "capacity": _capacity({"1": (ours, one), "2": (pair, two)}, tokens[0], seconds, rounds),
        }


def _latency(ports: dict[str, int], tokens: Sequence[str], rounds: int, count: int) -> dict[str, Any]:
    taken: dict[str, list[float]] = {name: [] for name in ports}
    for _ in range(rounds):
        for name, port in ports.items():
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                requests = _requests(PATH, tokens)
                _answered(connection, next(requests))
                for _ in range(count):
                    request = next(requests)
                    began = time.perf_counter()
                    _answered(connection, request)
                    taken[name].append((time.perf_counter() - began) * 1e6)
    figures = {name: {"p50": _share(found, 0.5), "p99": _share(found, 0.99)} for name, found in taken.items()}
    alone = figures[ALONE]
    for figure in figures.values():
        figure["added_p50"], figure["added_p99"] = figure["p50"] - alone["p50"], figure["p99"] - alone["p99"]
    return figures


def _capacity(gateways: dict[str, tuple[int, int]], token: str, seconds: int, rounds: int) -> dict[str, Any]:
    """What each can answer in a second: the reciprocal of the CPU time of a request on the busiest worker."""
    found: dict[str, list[float]] = {name: [] for name in gateways}
    costs: dict[str, list[float]] = {name: [] for name in gateways}
    load = ["wrk", "--threads", "1", "--connections", "32", "--duration", str(seconds)]
    for _ in range(rounds):
        for name, (pid, port) in gateways.items():
            before = _by_worker(pid)
            url = f"http://127.0.0.1:{port}/request/GET{PATH}"
            answered = _count(
                subprocess.check_output([*load, "--header", f"Authorization: Bearer {token}", url], text=True)
            )
            spent = [after - before[worker] for worker, after in _by_worker(pid).items()]
            costs[name].append(sum(spent) / answered * 1e6)
            found[name].append(answered / max(spent))
    return {
        name: {"requests_per_second": spread(found[name]), "microseconds": spread(costs[name])} for name in gateways
    } | {"two_over_one": spread([two / one for one, two in zip(found["1"], found["2"], strict=True)])}


def _count(report: str) -> int:
    counted = re.search(r"(\d+) requests in", report)
    if counted is None or "Non-2xx" in report or "Socket errors" in report:
        raise RuntimeError(f"not every request was answered 200: {report}")
    return int(counted[1])


def _by_worker(pid: int) -> dict[int, float]:
    workers = servers.family(pid)[1:] or [pid]
    return {worker: servers.cpu_seconds(worker) for worker in workers}


def _requests(path: str, tokens: Sequence[str]) -> Iterator[bytes]:
    ready = [f"GET {path} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\r\n".encode() for token in tokens]
    while True:
        yield from ready


def _answered(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)
    received = b""
    while not received.endswith(b"ok"):
        more = connection.recv(65_536)
        if not more or b" 200 " not in (received + more)[:16]:
            raise RuntimeError(f"a request was not answered 200: {(received + more)[:200]!r}")
        received += more


def _share(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def _running(command: Sequence[str], port: int, first: bytes, **more: Any) -> Iterator[int]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **more)
    try:
        servers.wait_for(port, first)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _nginx(folder: Path, name: str, text: str, port: int) -> Iterator[int]:
    folder.mkdir(exist_ok=True)
    main = folder / f"{name}.conf"
    main.write_text(text, "utf-8")
    with _started(folder, main, port, b"GET / HTTP/1.0\r\n\r\n") as pid:
        yield pid


@contextmanager
def _started(folder: Path, main: Path, port: int, first: bytes) -> Iterator[int]:
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    command = [program, "-e", "stderr", "-p", str(folder), "-c", str(main), "-g", "daemon off;"]
    with _running(command, port, first) as pid:
        yield pid


@contextmanager
def _asking(folder: Path, config: Path, gateway: int, api: int, port: int, token: str) -> Iterator[int]:
    """nginx as `tokenguard gateway config` prints it."""
    place = {"gateway": gateway, "upstream": api, "listen": port}
    options = [part for name, at in place.items() for part in (f"--{name}", f"127.0.0.1:{at}")]
    command = [sys.executable, "-m", "tokenguard.cli", "gateway", "config", "nginx", "--config", str(config), *options]
    subprocess.run([*command, "--into", str(folder)], check=True, stdout=subprocess.DEVNULL)
    with _started(folder, folder / "nginx.conf", port, next(_requests(PATH, [token]))) as pid:
        yield pid


@contextmanager
def _gateway(config: Path, port: int, workers: int, token: str) -> Iterator[int]:
    command = [sys.executable, "-m", "tokenguard.cli", "gateway", "--config", str(config), "--workers", str(workers)]
    first = next(_requests(f"/request/GET{PATH}", [token]))
    with _running([*command, "--bind", f"127.0.0.1:{port}"], port, first) as pid:
        yield pid


@contextmanager
def _peer(port: int, jwks: str, token: str) -> Iterator[int]:
    command = [sys.executable, "-m", "uvicorn", "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    environment = {**os.environ, "BENCH_JWKS": jwks, "PYTHONPATH": str(HERE)}
    more = ["--log-level", "warning", "--port", str(port), "contenders.forward_auth:app"]
    with _running([*command, *more], port, next(_requests("/request/GET", [token])), env=environment) as pid:
        yield pid
