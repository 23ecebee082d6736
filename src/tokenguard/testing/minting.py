"""Good tokens, and the memory of issued ones.

Owns: the signing keys and which are published, the claims of a good token, issued and revoked tokens.
Must not know: HTTP, endpoints, what is wrong with a bad token.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from tokenguard._flow.wall_time import wall_time
from tokenguard.testing.client_key import ClientKey, confirmation
from tokenguard.testing.signing_keys import SYMMETRIC, SigningKey, fits, new_key
from tokenguard.testing.tokens import ABSENT, b64url, changed, sign_compact

__all__ = ["Mint"]

_REMEMBERED = 100_000  # issued tokens: a development server that runs for days stays bounded


class Mint:
    """Keys and tokens of one issuer. Thread-safe. See `FakeIssuer`, which adds bad tokens and HTTP."""

    def __init__(
        self,
        url: str = "https://issuer.example",
        *,
        audience: str | Iterable[str] = "https://api.example.com",
        algorithm: str = "RS256",
        clock: Callable[[], float] = wall_time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        client_id: str = "client",
    ) -> None:
        self.url = url
        self.audience: str | list[str] = audience if isinstance(audience, str) else list(audience)
        self.algorithm = algorithm
        self.clock = clock
        self.client_id = client_id
        self.common_claims: dict[str, object] = {}
        self._random_bytes = random_bytes
        self._lock = threading.RLock()
        self._made = 0
        self._current: SigningKey | None = None
        self._published: list[SigningKey] = []
        self._strangers: dict[str, SigningKey] = {}
        self._issued: OrderedDict[bytes, dict[str, object]] = OrderedDict()
        self._revoked: OrderedDict[bytes, None] = OrderedDict()

    # Keys

    @property
    def key(self) -> SigningKey:
        """The key that signs. Made on first use."""
        with self._lock:
            if self._current is None:
                self._current = self.unpublished_key()
                self._published.append(self._current)
            return self._current

    @property
    def keys(self) -> tuple[SigningKey, ...]:
        """The keys in the published set, oldest first."""
        with self._lock:
            self.key  # noqa: B018  made on first use
            return tuple(self._published)

    def sign_with(self, keys: Iterable[SigningKey]) -> None:
        """Publish exactly these keys, of which the first one signs from now on."""
        published = list(keys)
        with self._lock:
            self._published, self._current = published, published[0]
            self.algorithm = self._current.algorithm

    def unpublished_key(
        self, algorithm: str | None = None, *, kid: str | None = None, members: Mapping[str, object] | None = None
    ) -> SigningKey:
        """A new key that no set publishes, such as one to publish later. `kid` defaults to `key-1`, `key-2`, …"""
        algorithm = algorithm or self.algorithm
        private = new_key(self, algorithm, self._random_bytes)
        with self._lock:
            if kid is None:
                self._made += 1
                kid = f"key-{self._made}"
        return SigningKey(kid, algorithm, private, dict(members or {}))

    def add_key(
        self, algorithm: str | None = None, *, kid: str | None = None, members: Mapping[str, object] | None = None
    ) -> SigningKey:
        """Publish one more key, without signing with it. `members` changes its JWK (`ABSENT` drops a member)."""
        with self._lock:
            self.key  # noqa: B018  it comes first
            key = self.unpublished_key(algorithm, kid=kid, members=members)
            self._published.append(key)
        return key

    def stranger(self, algorithm: str | None = None) -> SigningKey:
        """Another party's key, never published, under the `kid` that signs here: for forgeries. One per algorithm."""
        algorithm, kid = algorithm or self.key.algorithm, self.key.kid
        with self._lock:
            if algorithm not in self._strangers:
                self._strangers[algorithm] = self.unpublished_key(algorithm, kid="stranger")
            return SigningKey(kid, algorithm, self._strangers[algorithm].private)

    def rotate(self, *, keep_old: bool = False, same_kid: bool = False, algorithm: str | None = None) -> SigningKey:
        """Sign with a new key from now on, and return it.

        `keep_old` leaves the old keys published. `same_kid` gives the new key the old name, as some servers do.
        """
        old = self.key
        new = self.unpublished_key(algorithm, kid=old.kid if same_kid else None)
        with self._lock:
            self._published = [*(self._published if keep_old else ()), new]
            self._current = new
            self.algorithm = new.algorithm
        return new

    def withdraw(self, kid: str | None = None) -> None:
        """Stop publishing every key named `kid` (default: the one that signs). Its tokens can still be minted."""
        kid = self.key.kid if kid is None else kid
        with self._lock:
            self._published = [key for key in self._published if key.kid != kid]

    def jwks(self) -> dict[str, object]:
        """The key set as a verifier may see it (RFC 7517 section 5): what `Issuer(jwks=…)` takes.

        For `HS*` it holds the shared secret and is never served over HTTP.
        """
        return {"keys": [key.jwk() for key in self.keys]}

    def key_for(self, algorithm: str) -> SigningKey:
        """The published key for `algorithm`, the newest first; one is added where there is none."""
        with self._lock:
            candidates = (self.key, *reversed(self._published))
            found = next((key for key in candidates if fits(key, algorithm)), None)
            return found or self.add_key(algorithm)

    # Tokens

    def claims(self, scope: object = ABSENT, *, expires_in: float = 300) -> dict[str, object]:
        """The claims of a good access token now (RFC 9068 section 2.2): every required one, and `scope` where given.

        `scope`: a string, a list or a tuple, sent as given; a set, sent as a sorted array; anything else, sent as given
        and granting nothing. `expires_in`: seconds from now. `common_claims` are in all of them.
        """
        now = int(self.clock())
        claims: dict[str, object] = {
            "iss": self.url,
            "sub": self.client_id,
            "aud": self.audience,
            "client_id": self.client_id,
            "iat": now,
            "exp": now + expires_in,
            "jti": b64url(self._random_bytes(12)),
            **self.common_claims,
        }
        if scope is not ABSENT:
            claims["scope"] = sorted(scope) if isinstance(scope, set | frozenset) else scope
        return claims

    def mint(
        self,
        scope: object = ABSENT,
        *,
        expires_in: float = 300,
        algorithm: str | None = None,
        key: SigningKey | None = None,
        header: Mapping[str, object] | None = None,
        bound_to: ClientKey | bytes | None = None,
        **claims: object,
    ) -> str:
        """A signed access token (RFC 9068). Anything may be overridden, so it is as good as you leave it.

        `scope` and `expires_in` as `claims()`. `claims` replace the defaults, `None` is sent as `null`, `ABSENT` drops
        a claim. `header` does the same for the JOSE header. `algorithm` signs with the published key for it; `key`
        signs with that key, published or not. `bound_to`: a `client_key()`, or a certificate as DER.
        """
        key = key or self.key_for(algorithm or self.key.algorithm)
        algorithm = algorithm or key.algorithm
        payload = changed(self._bound(self.claims(scope, expires_in=expires_in), bound_to), claims)
        joined = changed({"typ": "at+jwt", "alg": algorithm, "kid": key.kid}, header or {})
        return self._remember(sign_compact(joined, payload, key, algorithm), payload)

    def client_key(self, alg: str = "ES256") -> ClientKey:
        """A new key of a client, for DPoP: `.jkt`, and `.proof(token, method, url)`. `ValueError` for `HS*`."""
        if alg in SYMMETRIC:
            raise ValueError("alg must be an asymmetric one: a proof shows its public key")
        return ClientKey(self.unpublished_key(alg, kid="client"), self.clock, self._random_bytes)

    def mint_opaque(
        self,
        scope: object = ABSENT,
        *,
        expires_in: float = 300,
        bound_to: ClientKey | bytes | None = None,
        **claims: object,
    ) -> str:
        """A random access token that only introspection can validate. `claims` become its answer, as in `mint`."""
        made = self._bound(self.claims(scope, expires_in=expires_in), bound_to)
        if isinstance(bound_to, ClientKey):
            made["token_type"] = "DPoP"
        return self.give_out(changed(made, claims), opaque=True)

    def give_out(self, claims: Mapping[str, object], *, opaque: bool) -> str:
        """A token of exactly these claims, whatever their names: opaque, or signed as `mint` does it."""
        if opaque:
            return self._remember(b64url(self._random_bytes(32)), {"token_type": "Bearer", **claims})
        header = {"typ": "at+jwt", "alg": self.key.algorithm, "kid": self.key.kid}
        return self._remember(sign_compact(header, claims, self.key), dict(claims))

    def sign(self, header: Mapping[str, object] | bytes, payload: Mapping[str, object] | bytes) -> str:
        """A token of exactly this header and payload, signed by the current key. Introspection does not know it."""
        return sign_compact(header, payload, self.key)

    def revoke(self, token: str) -> None:
        """From now on introspection calls `token` inactive. A JWT's signature stays good."""
        with self._lock:
            self._revoked[_digest(token)] = None
            if len(self._revoked) > _REMEMBERED:
                self._revoked.popitem(last=False)

    def introspect(self, token: str) -> dict[str, object]:
        """The RFC 7662 section 2.2 answer: `active` for a token that was given out, runs and is not revoked."""
        digest, now = _digest(token), self.clock()
        with self._lock:
            claims = None if digest in self._revoked else self._issued.get(digest)
        if claims is None or not _runs(claims, now):
            return {"active": False}
        return {"active": True, "token_type": "Bearer", **claims}

    def issued_to(self, token: str) -> object:
        """The `client_id` that `token` was given to, or None for a token that was never given out."""
        with self._lock:
            return self._issued.get(_digest(token), {}).get("client_id")

    def _bound(self, claims: dict[str, object], bound_to: ClientKey | bytes | None) -> dict[str, object]:
        return claims if bound_to is None else {**claims, "cnf": confirmation(bound_to)}

    def _remember(self, token: str, claims: dict[str, object]) -> str:
        with self._lock:
            self._issued[_digest(token)] = claims
            if len(self._issued) > _REMEMBERED:
                self._issued.popitem(last=False)
        return token

    @property
    def symmetric(self) -> bool:
        """Whether this issuer signs with a shared secret: then keys are static and nothing is published."""
        return self.algorithm in SYMMETRIC


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _runs(claims: Mapping[str, object], now: float) -> bool:
    not_before, expires = claims.get("nbf", ABSENT), claims.get("exp", ABSENT)
    early = isinstance(not_before, int | float) and now < not_before
    late = isinstance(expires, int | float) and now >= expires
    return not early and not late
