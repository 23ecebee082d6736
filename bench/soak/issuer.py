"""The hostile authorization server of the soak: a process that answers as a file says, and can be killed. `PORT FILE`

The file is JSON: `keys` (key sets by path), `answers` (introspection answers by token), `token` (what the token
endpoint gives), `forged` (what surplus octets carry), and `fault`, a name of `FAULTS` or null. It is read anew when it
was replaced, so nothing is lost with the process.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import socketserver
import struct
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

FAULTS = ("error", "page", "slow", "hang", "half", "surplus", "reset")


class _World:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[tuple[int, int], dict[str, Any]] = ((0, 0), {})

    def now(self) -> dict[str, Any]:
        found = self._path.stat()
        version = found.st_ino, found.st_mtime_ns  # two files may be written within one tick of their times
        if version != self._read[0]:
            self._read = (version, json.loads(self._path.read_text()))
        return self._read[1]


def _whole(status: str, document: object, kind: str = "application/json") -> bytes:
    body = json.dumps(document).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class _Handler(socketserver.StreamRequestHandler):
    world: _World
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while self._one():
                pass

    def _one(self) -> bool:
        """Answer one request. False: the connection ends."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline(65_537)
            if not line:
                return False
            head += line
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        body = self.rfile.read(int(length[1])) if length else b""
        world = self.world.now()
        method, path = head.decode("latin-1").split(" ", 2)[:2]
        if method == "GET":
            right, wrong, forged = world["keys"].get(path, {"keys": []}), {"keys": []}, world["forged"]["keys"]
        elif path == "/token":
            right, wrong, forged = world["token"], {"error": "server_error"}, world["forged"]["token"]
        else:
            token = parse_qs(body.decode())["token"][0]
            right, wrong = world["answers"].get(token, {"active": False}), {"active": False}
            forged = world["forged"]["answer"]
        return self._answer(world["fault"], right, wrong, forged)

    def _answer(self, fault: str | None, right: object, wrong: object, forged: object) -> bool:
        answer = _whole("200 OK", right)
        if fault is None:
            self.connection.sendall(answer)
        elif fault == "surplus":  # the next exchange on this connection would read a forged answer
            self.connection.sendall(answer + _whole("200 OK", forged))
        elif fault == "error":
            self.connection.sendall(_whole("500 Internal Server Error", wrong))
        elif fault == "page":
            self.connection.sendall(_whole("200 OK", "<html>down for maintenance</html>", "text/html"))
        elif fault == "slow":
            for start in range(0, len(answer), 8):
                self.connection.sendall(answer[start : start + 8])
                time.sleep(0.1)
        else:
            if fault == "half":
                self.connection.sendall(answer[: len(answer) * 2 // 3])
            elif fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            else:
                while self.world.now()["fault"] == "hang":
                    time.sleep(0.05)
            return False
        return True


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    _Handler.world = _World(Path(sys.argv[2]))
    with _Server(("127.0.0.1", int(sys.argv[1])), _Handler) as server:
        server.serve_forever()
