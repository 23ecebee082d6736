"""`tokenguard gateway` as real processes, and requests to it as octets."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from real_servers import clean

_LISTENING = re.compile(r"listening on (?:http://\S*:(\d+)|unix:(\S+)), ")
# What these processes run is measured where the tests are: nothing else covers signals and workers.
MEASURED = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
_PATIENCE = 120  # seconds; any machine may stand still


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name.lower())


@dataclass
class GatewayProcess:
    process: subprocess.Popen[bytes]
    stderr: Path
    address: tuple[str, int] | str = ""

    @property
    def port(self) -> int:
        return int(self.address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        return self.stderr.read_text("utf-8", "replace")

    def connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        made.settimeout(_PATIENCE)
        try:
            made.connect(self.address)
        except BaseException:
            made.close()
            raise
        return made

    def ask(self, target: str | bytes, *fields: tuple[str, str], method: str = "GET") -> Reply:
        """One request on a connection of its own, its target as it stands."""
        with self.connect() as connection:
            send(connection, target, *fields, method=method)
            return reply(connection, method)

    def metrics(self) -> dict[str, float]:
        text = self.ask("/-/metrics").body.decode()
        return {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if not line.startswith("#")
        }

    def pids(self) -> set[int]:
        """Of the processes that serve."""
        return {int(name.split('"')[1]) for name in self.metrics() if name.startswith("process_cpu_seconds_total{")}

    def until(self, what, *expected):
        """What `what()` gives, once it is one of `expected`, or anything that counts as true."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            found = what()
            if found in expected or (not expected and found):
                return found
            assert time.monotonic() < deadline, f"{found!r}; it wrote:\n{self.log()}"
            time.sleep(0.02)

    def refuses(self) -> bool:
        try:
            self.connect().close()
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(_PATIENCE)


def send(connection: socket.socket, target: str | bytes, *fields: tuple[str, str], method: str = "GET") -> None:
    line = b" ".join([method.encode(), target if isinstance(target, bytes) else target.encode(), b"HTTP/1.1"])
    lines = [line, b"Host: gateway", *(f"{name}: {value}".encode("latin-1") for name, value in fields), b"", b""]
    connection.sendall(b"\r\n".join(lines))


def reply(connection: socket.socket, method: str = "GET") -> Reply:
    with connection.makefile("rb") as reading:
        status = int(reading.readline().split(b" ")[1])
        headers = []
        while line := reading.readline().strip(b"\r\n"):
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip(" ")))
        length = int(dict(headers).get("content-length", "0"))
        return Reply(status, headers, b"" if method == "HEAD" else reading.read(length))


def _serves(made: GatewayProcess) -> None:
    made.ask("/-/live")


@contextmanager
def running(config: str, *options: str, environment=None, when=_serves, beside=()) -> Iterator[GatewayProcess]:
    """`tokenguard gateway` with this configuration; `--bind 127.0.0.1:0` unless `options` say where. `when`: what is
    done once it listens, before anything else. `beside`: pairs of name and content, files in the directory that it is
    started in."""
    where = () if {"--bind", "--uds"} & set(options) else ("--bind", "127.0.0.1:0")
    with tempfile.TemporaryDirectory() as scratch:
        path, stderr = Path(scratch, "gateway.toml"), Path(scratch, "stderr")
        path.write_text(config, "utf-8")
        for name, content in beside:
            Path(scratch, name).write_text(content, "utf-8")
        with stderr.open("wb") as log:
            process = subprocess.Popen(
                # `-P` as for the installed command, which imports nothing from the directory that it is started in
                [sys.executable, "-P", "-m", "tokenguard.cli", "gateway", "--config", path, *where, *options],
                cwd=scratch,
                env=clean(environment or {}) | MEASURED | {"TMPDIR": scratch},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        made = GatewayProcess(process, stderr)
        try:
            made.until(lambda: _LISTENING.search(made.log()) or process.poll() is not None)
            port, socket_path = _LISTENING.search(made.log()).groups()
            made.address = socket_path or ("127.0.0.1", int(port))
            when(made)
            yield made
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
