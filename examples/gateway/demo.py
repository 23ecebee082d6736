"""`make demo-gateway`: an issuer, the gateway with two workers, nginx and an API in JavaScript, as plain processes on
loopback. Good and bad tokens, a rotated key, an outage, a killed worker; exit code 1 if a row is not as expected."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple, Self

from tokenguard.testing import FakeIssuer

HERE = Path(__file__).parent
AUDIENCE = "https://orders.example"
READ, WRITE = "orders:read", "orders:write"
PATIENCE = 15.0  # seconds for what happens in the background

Fields = Sequence[tuple[str, str]]


class Reply(NamedTuple):
    """What came through nginx. `caller` and `target`: what the API received."""

    status: int
    challenge: str = ""
    retry_after: str = ""
    caller: str = ""
    target: str = ""


class Demo:
    """Sends requests and compares. `port`: nginx's."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.rows = self.unexpected = 0

    def row(
        self,
        text: str,
        expected: str,
        token: str | None,
        *,
        target: str = "/orders/1",
        method: str = "GET",
        fields: Fields = (),
        patience: float = 0,
    ) -> None:
        """One row. It is sent again within `patience` until the answer is as expected."""
        sent = [*fields, *([] if token is None else [("Authorization", f"Bearer {token}")])]
        deadline = time.monotonic() + patience
        while shown(reply := ask(self.port, method, target, sent)) != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        self.show(text, expected, reply)

    def many(self, text: str, token: str, count: int = 50) -> None:
        """The same request many times in a row; all of them have to be let in."""
        sent = [("Authorization", f"Bearer {token}")]
        replies = [ask(self.port, "GET", "/orders/1", sent) for _ in range(count)]
        self.show(text, "200 to reports", next((one for one in replies if one.status != 200), replies[0]))

    def show(self, text: str, expected: str, reply: Reply) -> None:
        """One line of the table."""
        fits = shown(reply) == expected and bool(reply.retry_after) == (reply.status == 503)
        self.rows += 1
        self.unexpected += not fits
        beside = (
            f"(Retry-After: {reply.retry_after})" if reply.retry_after else reply.challenge.partition(", error_d")[0]
        )
        line = f"{text:42} {expected:24} {shown(reply):24} {beside or '-':46} {'ok' if fits else 'UNEXPECTED'}"
        print(line, flush=True)


def main() -> int:
    """All of it. Everything is stopped at the end, even after an error."""
    missing = [name for name in ("nginx", "node") if shutil.which(name) is None]
    if missing:
        print(f"demo-gateway: needs {' and '.join(missing)}: apt-get install nginx-light nodejs", file=sys.stderr)
        return 2
    started = time.monotonic()
    issuer = FakeIssuer(audience=AUDIENCE, client_id="reports")
    with ExitStack() as ending:
        scratch = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="demo-gateway-")))
        server = ending.enter_context(issuer.serve())
        ports = [free_port() for _ in range(3)]
        nginx_port, gateway_port, api_port = ports
        config = scratch / "gateway.toml"
        config.write_text((HERE / "gateway.toml").read_text("utf-8").replace("http://127.0.0.1:9000", issuer.url))
        command = [sys.executable, "-m", "tokenguard.cli", "gateway"]
        gateway_command = [*command, "--config", str(config), "--bind", f"127.0.0.1:{gateway_port}", "--workers", "2"]
        main_file = written(command, config, scratch / "nginx", *ports)
        nginx = ["nginx", "-e", "stderr", "-p", str(main_file.parent), "-c", str(main_file), "-g", "daemon off;"]

        gateway = ending.enter_context(Process("gateway", gateway_command, gateway_port, scratch))
        api = ending.enter_context(Process("API", ["node", str(HERE / "api.mjs"), str(api_port)], api_port, scratch))
        proxy = ending.enter_context(Process("nginx", nginx, nginx_port, scratch))
        print(f"issuer   {issuer.url}  for development only")
        for process in (gateway, api, proxy):
            print(f"{process.name:8} http://127.0.0.1:{process.port}  process {process.pid}")
        wait_for(lambda: ask(gateway_port, "GET", "/-/ready").status == 200)
        print(f"\n{'request':42} {'expected':24} {'status':24} {'WWW-Authenticate':46} verdict")
        demo = Demo(nginx_port)
        try:
            with_tokens(demo, issuer)
            good = over_time(demo, issuer)
            with_losses(demo, good, gateway, server.stop)
        finally:
            if demo.unexpected:
                for process in (gateway, api, proxy):
                    print(f"--- {process.name} wrote:\n{process.log()}")
        print(f"\n{demo.rows - demo.unexpected} of {demo.rows} rows as expected, {time.monotonic() - started:.0f} s")
    return 1 if demo.unexpected else 0


def with_tokens(demo: Demo, issuer: FakeIssuer) -> None:
    """What a request may bring."""
    good = issuer.mint(scope=READ)
    demo.row("good token", "200 to reports", good)
    demo.row("same token again", "200 to reports", good)
    demo.row("POST with a body", "200 to reports", issuer.mint(scope=WRITE), target="/orders", method="POST")
    demo.row("no token", "401", None)
    demo.row("not a token", "401 invalid_token", "nonsense")
    demo.row("expired", "401 invalid_token", issuer.expired(scope=READ))
    demo.row("wrong audience", "401 invalid_token", issuer.wrong_audience(scope=READ))
    demo.row("wrong issuer", "401 invalid_token", issuer.wrong_issuer(scope=READ))
    demo.row("forged signature", "401 invalid_token", issuer.forged_signature(scope=READ))
    demo.row("alg: none", "401 invalid_token", issuer.alg_none(scope=READ))
    demo.row("too little scope", "403 insufficient_scope", good, target="/orders", method="POST")
    demo.row("a route that nobody listed", "403 insufficient_scope", good, target="/admin")
    demo.row("that route without a token", "401", None, target="/admin")
    demo.row("two tokens", "400 invalid_request", good, fields=[("Authorization", f"Bearer {good}")])
    demo.row("public route", "200 to nobody", None, target="/health")
    forged = [("X-Forwarded-Uri", "/health"), ("X-Forwarded-Method", "GET"), ("X-Original-URL", "/health")]
    demo.row("forged target", "401", None, fields=forged)
    demo.row("forged claim", "200 to reports", good, fields=[("X-Token-Client", "admin"), ("X_Token_Client", "admin")])
    demo.row(
        "forged claim on a public route", "200 to nobody", None, target="/health", fields=[("X-Token-Client", "x")]
    )
    demo.row("odd path", "403 insufficient_scope", good, target="/health/..%2forders/1")


def over_time(demo: Demo, issuer: FakeIssuer) -> str:
    """Changes of keys. A token that is good at the end."""
    before = issuer.mint(scope=READ)
    leaked = issuer.key
    issuer.rotate(keep_old=True)
    demo.row("rotated key", "200 to reports", issuer.mint(scope=READ), patience=PATIENCE)
    demo.row("key before rotation", "200 to reports", before)
    issuer.withdraw(leaked.kid)
    demo.row("revoked key", "401 invalid_token", before, patience=PATIENCE)
    good = issuer.mint(scope=READ)
    demo.row("good token", "200 to reports", good)
    return good


def with_losses(demo: Demo, good: str, gateway: Process, stop_issuer: Callable[[], None]) -> None:
    """Requests while a part is unavailable."""
    worker = gateway.children()[0]
    os.kill(worker, signal.SIGKILL)
    demo.many("a worker killed, 50 requests", good)
    wait_for(lambda: len(gateway.children()) == 2 and worker not in gateway.children())
    demo.many("another one in its place, 50 requests", good)
    stop_issuer()
    time.sleep(1.5)  # the keys are fresh for one second, so they are stale now
    demo.row("issuer down", "200 to reports", good)
    gateway.stop()
    demo.row("gateway down", "503", good)
    demo.row("gateway down, public route", "503", None, target="/health")
    gateway.start()
    wait_for(lambda: ask(gateway.port, "GET", "/-/live").status == 200)
    demo.row("gateway restarted, issuer down", "503", good)
    demo.row("public route, issuer down", "200 to nobody", None, target="/health")


class Process:
    """A process that listens on `port`, while the `with` block lasts."""

    def __init__(self, name: str, command: list[str], port: int, scratch: Path) -> None:
        self.name = name
        self.port = port
        self._command = command
        self._log = scratch / f"{name}.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the running process."""
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TOKENGUARD_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=kept, cwd=self._log.parent
            )
        try:
            wait_for(lambda: self._process.poll() is not None or listens(self.port))
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended; it wrote:\n{self.log()}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it, by force if nothing else does."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def children(self) -> list[int]:
        """The processes that it has started."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text("ascii").split()]

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text("utf-8", "replace")


def ask(port: int, method: str, target: str, fields: Fields = ()) -> Reply:
    """One request on a connection of its own; status 0 where there is no answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest(method, target)
        for name, value in fields:
            connection.putheader(name, value)
        body = b"two of them" if method == "POST" else b""
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
    except (OSError, HTTPException):
        return Reply(0)
    finally:
        connection.close()
    received = json.loads(content) if response.status == 200 and content.startswith(b"{") else {}
    challenges = response.headers.get_all("WWW-Authenticate") or []
    retry_after = response.headers.get("Retry-After", "")
    return Reply(
        response.status, " AND ".join(challenges), retry_after, received.get("caller", ""), received.get("target", "")
    )


def shown(reply: Reply) -> str:
    """A reply as the table has it."""
    if reply.status == 200:
        return f"200 to {reply.caller or 'nobody'}"
    _, named, error = reply.challenge.partition('error="')
    return f"{reply.status} {error.partition(chr(34))[0]}" if named else str(reply.status)


def written(command: list[str], config: Path, into: Path, listen: int, gateway: int, upstream: int) -> Path:
    """The main file of nginx's configuration."""
    places = {"--listen": listen, "--gateway": gateway, "--upstream": upstream}
    options = [text for name, port in places.items() for text in (name, f"127.0.0.1:{port}")]
    line = [*command, "config", "nginx", "--config", str(config), "--into", str(into), *options]
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.splitlines()[-1])


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def listens(port: int) -> bool:
    """Whether a process accepts connections there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def wait_for(condition: Callable[[], bool]) -> None:
    """Until `condition` holds, and at most `PATIENCE`."""
    deadline = time.monotonic() + 4 * PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
