"""Tokens to measure with: minted once by the test kit, kept in bench/.cache, read by the process of every contender.

Every token is distinct, and there are more of them than a validator remembers: going round them, each one is new again
by the time its turn comes.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("BENCH_CACHE") or Path(__file__).parent / ".cache")
ISSUER = "https://auth.example.com/"
AUDIENCE = "https://api.example.com"
SCOPE = "orders:read orders:write profile:read reports:read"
REMEMBERED = 10_000  # the default of `token_cache_size`
FULL, QUICK = 12_000, 1_200
_LIFETIME = 3 * 86_400


@dataclass(frozen=True)
class Corpus:
    algorithm: str
    jwks: dict[str, Any]
    tokens: list[str]

    @property
    def cache_size(self) -> int:
        """A `token_cache_size` that never remembers a token until its next turn: the default, for a full corpus."""
        return min(REMEMBERED, len(self.tokens) * REMEMBERED // FULL)


def load(algorithm: str, count: int) -> Corpus:
    """The first `count` tokens of a corpus that `make` made."""
    stored = json.loads(_path(algorithm, count).read_text("utf-8"))
    return Corpus(algorithm, stored["jwks"], stored["tokens"])


def make(algorithm: str, count: int) -> None:
    """Mint a corpus unless there is one that is good for another day. Needs tokenguard."""
    path = _path(algorithm, count)
    if path.exists() and time.time() < path.stat().st_mtime + _LIFETIME - 86_400:
        return
    from tokenguard.testing import FakeIssuer

    issuer = FakeIssuer(ISSUER, audience=AUDIENCE, algorithm=algorithm, client_id="web-shop")
    tokens = [
        issuer.mint(SCOPE, expires_in=_LIFETIME, sub=f"auth|{number:032x}", client_id="web-shop-frontend")
        for number in range(count)
    ]
    CACHE.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"jwks": issuer.jwks(), "tokens": tokens}), "utf-8")


def _path(algorithm: str, count: int) -> Path:
    return CACHE / f"{algorithm}-{count}.json"
