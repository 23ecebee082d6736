"""The five proxies for tests: real processes on loopback with what `tokenguard gateway config` writes, and requests to
them as bytes."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import run
from listeners import held_port
from raw_requests import Answer
from real_servers import ROOT, clean

NAMES = ("nginx", "caddy", "traefik", "envoy", "haproxy")

# How each is started with its main file, in the foreground.
COMMANDS = {
    "nginx": lambda main: ["-e", "stderr", "-p", str(main.parent), "-c", str(main), "-g", "daemon off;"],
    "caddy": lambda main: ["run", "--adapter", "caddyfile", "--config", str(main)],
    "traefik": lambda main: [f"--configFile={main}"],
    "envoy": lambda main: ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "-c", str(main)],
    "haproxy": lambda main: ["-db", "-f", str(main)],
}


def program(name: str) -> str:
    """The executable: of `make proxies`, or on the PATH. A skip where it is neither."""
    found = shutil.which(name, path=str(ROOT / ".venv-proxies" / "bin")) or shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: make proxies, apt-get install nginx-light haproxy")
    return found


@dataclass
class Proxy:
    """A proxy that listens."""

    name: str
    main: Path
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, target: str, fields: Sequence[tuple[str, str]] = (), body: bytes = b"", **how) -> Answer:
        return ask(self.port, method, target, fields, body, **how)


def ask(
    port: int,
    method: str,
    target: str,
    fields: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    connection: str = "close",
) -> Answer:
    """One request on a connection of its own, byte by byte as it is written here."""
    is_chunked = any(name == "Transfer-Encoding" for name, _ in fields)
    length = [("Content-Length", str(len(body)))] if body and not is_chunked else []
    lines = [("Host", "api.example"), *fields, *length, ("Connection", connection)]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sending:
        # A server that rejects a request may close before it has read all of it.
        with contextlib.suppress(ConnectionError):
            sending.sendall(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        came = b""
        with contextlib.suppress(ConnectionError):
            while not _is_whole(came, method) and (more := sending.recv(65_536)):
                came += more
    first, _, rest = came.partition(b"\r\n\r\n")
    headers = _headers(first)
    chunked = any(name == "transfer-encoding" for name, _ in headers)
    return Answer(int(first.split()[1]), headers, _joined(rest) if chunked else rest)


def reached(answer: Answer) -> dict[str, Any]:
    """What the API behind the proxy says that it got."""
    assert answer.status == 200, (answer.status, answer.body)
    return json.loads(answer.body)


def fields_of(report: dict[str, Any], name: str) -> list[str]:
    """Every value of a field that reached the API under `name` or another spelling of it."""
    wanted = _folded(name)
    return [value for key, value in report["fields"] if _folded(key) == wanted]


def printed(
    name: str, config: Path, into: Path, *, gateway: int, upstream: int, listen: int, host: str = "127.0.0.1"
) -> Path:
    """The main file of what the command writes for a proxy. `host`: of the gateway."""
    place = "127.0.0.1:{}".format
    ran = run(
        *("gateway", "config", name, "--config", config, "--into", into),
        *("--gateway", f"{host}:{gateway}", "--upstream", place(upstream), "--listen", place(listen)),
    )
    assert (ran.code, ran.err) == (0, "")
    return Path(ran.out.splitlines()[-1])


@contextlib.contextmanager
def running(mains: Mapping[str, tuple[str, Path, int]]) -> Iterator[dict[str, Proxy]]:
    """Start proxies, all of them at once: for each name which program it is, its main file, and where that listens."""
    with contextlib.ExitStack() as ending:
        proxies = {name: ending.enter_context(_started(*given)) for name, given in mains.items()}
        for proxy in proxies.values():
            _wait(proxy)
        yield proxies


@contextlib.contextmanager
def all_running(config: Path, into: Path, *, gateway: int, upstream: int) -> Iterator[dict[str, Proxy]]:
    """All five, each with its printed configuration."""
    with contextlib.ExitStack() as ending:
        mains = {}
        for name in NAMES:
            port = ending.enter_context(held_port())
            main = printed(name, config, into / name, gateway=gateway, upstream=upstream, listen=port)
            mains[name] = (name, main, port)
        yield ending.enter_context(running(mains))


@contextlib.contextmanager
def _started(name: str, main: Path, port: int) -> Iterator[Proxy]:
    log = main.parent / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program(name), *COMMANDS[name](main)],
            cwd=main.parent,
            env=clean({"HOME": str(main.parent)}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield Proxy(name, main, port, process, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:  # what it still had to do is of no interest
            process.kill()
            process.wait()


def _wait(proxy: Proxy) -> None:
    deadline = time.monotonic() + 60
    while proxy.process.poll() is None and time.monotonic() < deadline:
        # Traefik listens before it has read its routes, and answers 404 until then.
        with contextlib.suppress(OSError):
            if ask(proxy.port, "GET", "/orders/1").status != 404:
                return
        time.sleep(0.02)
    raise AssertionError(f"{proxy.name} does not listen; it wrote:\n{proxy.log.read_text('utf-8', 'replace')}")


def _headers(first: bytes) -> list[tuple[str, str]]:
    pairs = [line.partition(":") for line in first.decode("latin-1").split("\r\n")[1:]]
    return [(name.lower(), value.strip()) for name, _, value in pairs]


def _is_whole(came: bytes, method: str) -> bool:
    """Whether nothing is missing. Some servers close long after their last octet."""
    first, end, rest = came.partition(b"\r\n\r\n")
    lengths = [int(value) for name, value in _headers(first) if name == "content-length"] if end else []
    return bool(end) and (method == "HEAD" or (bool(lengths) and len(rest) >= lengths[0]))


def _joined(rest: bytes) -> bytes:
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + 2 :] if length else b""
    return body


def _folded(name: str) -> str:
    return "".join(one if one.isalnum() else "-" for one in name.lower())
