"""A client in Node, tests/interop/client.mjs, that makes keys, proofs and whole requests by packages of others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from npm_packages import INTEROP


class NodeClient:
    """The running process. A method for each thing that it does."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def key(self, alg: str) -> str:
        """Make a new key. Returns its thumbprint (RFC 7638)."""
        return self._ask(do="key", alg=alg)["jkt"]

    def proof(self, token: str, method: str, url: str, nonce: str | None = None) -> str:
        """A proof by the last key."""
        return self._ask(do="proof", token=token, method=method, url=url, nonce=nonce)["proof"]

    def call(self, **settings: str) -> dict[str, Any]:
        """Get a bound token, and call an API with it: see client.mjs."""
        return self._ask(do="call", **settings)

    def _ask(self, **job: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "failed" not in answer, answer
        return answer


@contextmanager
def node_client() -> Iterator[NodeClient]:
    """The process while the block lasts; its packages are installed already."""
    with subprocess.Popen(
        ["node", "client.mjs"],
        cwd=INTEROP,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield NodeClient(process)
        process.stdin.close()
