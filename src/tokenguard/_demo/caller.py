"""A worker that calls the APIs: one call in each line of standard input, its outcome in each line of standard output.

Owns: the calls, a clock that can be moved. Must not know: the requests of the demonstration, what is expected.
"""

from __future__ import annotations

import json
import os
import sys
import time

import httpx

from tokenguard import TokenGuardError
from tokenguard.client import TokenSource
from tokenguard.httpx import AccessTokenAuth


class _Clock:
    """Stands still until it is moved, so that four minutes pass at once and no pause ends by itself."""

    def __init__(self) -> None:
        self._wall, self._monotonic, self._moved = time.time(), time.monotonic(), 0.0

    def move(self, seconds: float) -> None:
        self._moved += seconds

    def wall(self) -> float:
        return self._wall + self._moved

    def monotonic(self) -> float:
        return self._monotonic + self._moved


class _Calls:
    """Calls with `AccessTokenAuth`, and reports on each: no token, only whether it is the one of the last call."""

    def __init__(self, tokens: TokenSource, origins: list[str]) -> None:
        self._tokens = tokens
        self._last = ""
        self._statuses: list[str] = []
        self._client = httpx.Client(
            auth=AccessTokenAuth(tokens, origins),
            event_hooks={"response": [self._note]},
            timeout=10,
            trust_env=False,
        )

    def _note(self, response: httpx.Response) -> None:
        self._statuses.append(str(response.status_code))

    def call(self, url: str) -> dict[str, str]:
        """GET `url`: every status that came, which token was sent at last, why the last renewal failed."""
        self._statuses = []
        try:
            answer = self._client.get(url)
        except TokenGuardError as error:
            return {"status": f"no token: {type(error).__name__}", "renewal": ""}
        sent = answer.request.headers["Authorization"]
        which = "same token" if sent == self._last else "new token"
        self._last = sent
        [state] = self._tokens.state()
        return {"status": f"{' '.join(self._statuses)} {which}", "renewal": state.last_error or ""}


def main() -> None:
    """Call until standard input ends."""
    clock = _Clock()
    with TokenSource.from_env(clock=clock.wall, monotonic=clock.monotonic, allow_insecure_http=True) as tokens:
        calls = _Calls(tokens, os.environ["DEMO_ORIGINS"].split())
        print("ready", flush=True)
        for line in sys.stdin:
            job = json.loads(line)
            clock.move(job["later"])
            print(json.dumps(calls.call(job["url"])), flush=True)


if __name__ == "__main__":
    main()
