"""Tokens, and which outcomes of a request with one are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

# For how many seconds after a trouble 503 is still right: the last pause that it may have begun, with `app.SPEED`, and
# one exchange that hangs until its timeout. It is shorter than the calm after each trouble.
GRACE = {"issuer": 3.5, "redis": 2.0, "full": 0.5, "server": 2.0}
# From when on a change must be in force: an answer lives in Redis for app.CACHE_TTL, keys are fetched each second.
SETTLED = {"opaque": 2.5, "key": 4.0}
LEAD = 3.0  # how long a key is published before it signs: held sets are a second old at most

ISSUER, REDIS, SERVER = frozenset({"issuer"}), frozenset({"redis"}), frozenset({"server"})
FULL = frozenset({"full"})  # a Redis that can be read and not written to: proofs need both
NOTHING: frozenset[str] = frozenset()
# What each kind needs: only trouble there makes 503 right.
NEEDS = {
    "good jwt": REDIS | SERVER,  # keys that are held serve through any trouble of the issuer
    "good opaque": ISSUER | REDIS | SERVER,
    "good bound jwt": REDIS | FULL | SERVER,
    "other issuer": REDIS | SERVER,
    "tenant": REDIS | SERVER,
    "worker's token": REDIS | SERVER,
    "ends soon, jwt": REDIS | SERVER,
    "ends soon, opaque": ISSUER | REDIS | SERVER,
    "young jwt": REDIS | SERVER,
    "revoked jwt": REDIS | SERVER,
    "revoked opaque": ISSUER | REDIS | SERVER,
    "withdrawn key": ISSUER | REDIS | SERVER,
    "unknown opaque": ISSUER | REDIS | SERVER,
    "used proof": REDIS | FULL | SERVER,
    "no proof": NOTHING,
    "expired": NOTHING,
    "wrong audience": NOTHING,
    "alg none": NOTHING,
    "public key as secret": NOTHING,
    "unknown tenant": NOTHING,
    "mixed issuers": ISSUER | SERVER,
    "forged": ISSUER | SERVER,  # a key may have been replaced under its name: the set is fetched again
    "tampered": ISSUER | SERVER,
    "unknown kid": ISSUER | SERVER,
    "no token": NOTHING,
}
WEIGHTS = {
    "good jwt": 40,
    "good opaque": 20,
    "good bound jwt": 10,
    "revoked jwt": 8,
    "revoked opaque": 8,
    "unknown opaque": 2,
}
# Signed by the key that is rotated, and sent without a proof.
SIGNED = ("good jwt", "ends soon, jwt", "young jwt", "revoked jwt")
# Of these a server that has no form for proofs gets none.
BOUND = frozenset({"good bound jwt", "used proof"})


@dataclass
class Token:
    """A token, and from when on it is bad: between `ending` and `ended` either outcome is right."""

    kind: str
    text: str | None
    ending: float = inf
    ended: float = inf
    good_at: frozenset[int] | None = None  # the offsets of the clock at which it is good; None: at any
    proof: Callable[[], str] | None = None  # another one for each request

    def statuses(self, sent: float, answered: float, offsets: Sequence[int]) -> set[int]:
        right = set[int]()
        for offset in set(offsets):
            good = self.good_at is None or offset in self.good_at
            if good and sent < self.ended:
                right.add(200)
            if not good or answered >= self.ending:
                right.add(401)
        return right

    def fields(self) -> dict[str, str]:
        """What is sent with the token."""
        if self.text is None:
            return {}
        if self.proof is None:
            return {"authorization": f"Bearer {self.text}"}
        return {"authorization": f"DPoP {self.text}", "dpop": self.proof()}
