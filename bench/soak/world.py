"""What the servers ask: the issuers in a process, Redis, the wall clock; and the tokens that are sent."""

from __future__ import annotations

import contextlib
import json
import mmap
import random
import secrets
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from listeners import held_port
from redis_server import RedisServer

from soak.tokens import BOUND, NEEDS, SETTLED, WEIGHTS, Token
from tokenguard import RevocationList, UnavailableError
from tokenguard.redis import RedisStore
from tokenguard.testing import FakeIssuer

HERE = Path(__file__).parent
API = "https://api.example.com"
TENANTS = ("acme", "globex")

HOUR = 3_600
TOKEN_LIFETIME = 40  # seconds of a token that the worker is given
STEP = 600  # seconds by which the wall clock steps, either way


class World:
    """The issuer, Redis, the clock of the server, and the tokens."""

    def __init__(self, stack: ExitStack, timeout: float, *, takes_proofs: bool = True) -> None:
        self.takes_proofs = takes_proofs
        self._timeout = timeout
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._port = stack.enter_context(held_port())
        self.url = f"http://127.0.0.1:{self._port}"
        self.mint = FakeIssuer(self.url, algorithm="ES256", clock=time.time)
        self.other = FakeIssuer(f"{self.url}/other", algorithm="RS256", clock=time.time)
        self.tenants = [
            FakeIssuer(f"{self.url}/tenants/{name}", algorithm="ES256", clock=time.time) for name in TENANTS
        ]
        self.key = self.mint.client_key()
        self.offsets = [0]
        self.clock_file = scratch / "clock"
        self.clock_file.write_bytes(struct.pack("d", 0))
        with self.clock_file.open("r+b") as file:
            self._clock = stack.enter_context(contextlib.closing(mmap.mmap(file.fileno(), 8)))
        self._file, self._fault, self._answers = scratch / "world.json", None, dict[str, Any]()
        self._process: subprocess.Popen[bytes] | None = None
        # What was revoked must outlive the process: with appendonly, Redis writes before it answers.
        # By everysec a write may wait for the disk, and be lost with the process after its answer.
        self.redis = stack.enter_context(RedisServer("--appendonly", "yes", "--appendfsync", "no"))
        self._store = RedisStore(self.redis.url)
        stack.callback(self._store.close)
        self._list = RevocationList(self._store)
        self._ids: dict[str, str] = {}
        self._pending: list[Token] = []
        self.issued: dict[str, Token] = {}  # what the token endpoint gave, and may give
        self.pools: dict[str, deque[Token]] = {kind: deque(maxlen=30) for kind in NEEDS}
        self.pools["no token"].append(Token("no token", None, -inf, -inf))
        for _ in range(30):
            self.add("good jwt", self.jwt())
            self.add("good opaque", self.opaque())
            self.bind()
        for issuer in (self.other, *self.tenants):
            self.add("other issuer" if issuer is self.other else "tenant", self.jwt(issuer))
        self.forge()
        self.renew()
        self.start_issuer()
        stack.callback(self.kill_issuer)

    # -- tokens

    def add(self, kind: str, text: str, **facts: Any) -> Token:
        token = Token(kind, text, **facts)
        self.pools[kind].append(token)
        return token

    def bind(self) -> Token:
        """A token that is bound to a key, with a proof for each request: good at the true time only."""
        text = self.jwt(bound_to=self.key)
        self.add("no proof", text, ending=-inf, ended=-inf)
        proof = partial(self.key.proof, text, "GET", f"{API}/")
        return self.add("good bound jwt", text, good_at=frozenset({0}), proof=proof)

    def used(self, token: Token, fields: dict[str, str]) -> None:
        """Send the proof of an accepted request once more."""
        again = Token("used proof", token.text, -inf, -inf, proof=lambda: fields["dpop"])
        self.pools["used proof"].append(again)

    def jwt(self, issuer: FakeIssuer | None = None, **claims: Any) -> str:
        claims = {"expires_in": 24 * HOUR, "iat": int(time.time()) - HOUR, "jti": secrets.token_hex(8)} | claims
        text = (issuer or self.mint).mint(**claims)
        self._ids[text] = claims["jti"]
        return text

    def opaque(self, **claims: Any) -> str:
        text = self.mint.mint_opaque(**({"expires_in": 24 * HOUR, "iat": int(time.time()) - HOUR} | claims))
        self._answers[text] = self.mint.introspect(text)
        return text

    def forge(self) -> None:
        """Tokens that are bad at any time, of the present key: one of a withdrawn key needs a look at the set."""
        bad = partial(self.add, ending=-inf, ended=-inf)
        kinds = ("expired", "wrong audience", "alg none", "public key as secret", "forged", "tampered", "mixed issuers")
        for kind in kinds:
            self.pools[kind].clear()
        for _ in range(5):
            bad("expired", self.mint.expired(seconds=2 * STEP))
            bad("wrong audience", self.mint.wrong_audience(expires_in=24 * HOUR, iat=int(time.time()) - HOUR))
            bad("alg none", self.mint.alg_none())
            bad("public key as secret", self.mint.hs256_with_public_key())
            bad("forged", self.mint.forged_signature())
            bad("tampered", self.mint.tampered_signature())
            bad("unknown kid", self.mint.unknown_kid())
            bad("mixed issuers", self.jwt(iss=self.other.url))
            bad("unknown tenant", self.jwt(iss=f"{self.url}/tenants/{secrets.token_hex(4)}"))

    def renew(self) -> None:
        """Tokens whose time is a matter of the clock, and such as will be revoked."""
        self.given = Token("worker's token", self.jwt())
        self.issued[str(self.given.text)] = self.given
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
        if kind in BOUND and not self.takes_proofs:
            kind = "good jwt"
        if kind == "unknown opaque":
            return Token(kind, secrets.token_urlsafe(32), -inf, -inf)
        if kind == "good jwt" and random.random() < 0.1:
            return Token(kind, self.jwt())
        if kind == "good bound jwt" and random.random() < 0.1:
            return self.bind()
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
        forged["token"] = {"access_token": "forged", "token_type": "Bearer", "expires_in": TOKEN_LIFETIME}
        keys = {
            f"{issuer.url}/keys".removeprefix(self.url): issuer.jwks()
            for issuer in (self.mint, self.other, *self.tenants)
        }
        given = {"access_token": self.given.text, "token_type": "Bearer", "expires_in": TOKEN_LIFETIME}
        world = {"keys": keys, "answers": self._answers, "token": given, "forged": forged, "fault": self._fault}
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(world))
        new.replace(self._file)

    def fail(self, fault: str | None) -> None:
        self._fault = fault
        self.write()

    def start_issuer(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "issuer.py"), str(self._port), str(self._file)], stdin=subprocess.DEVNULL
        )
        listening(self._port, self._process)

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


def listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until somebody listens."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("a process of the soak does not listen")
        time.sleep(0.02)
