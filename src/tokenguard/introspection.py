"""`Introspection`: how to ask an issuer whether a token is active (RFC 7662), as settings.

Owns: what may be said of an introspection endpoint and of our credentials there, and refusing what may not.
Must not know: fetching, caches, tokens.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable

from tokenguard._oauth.client_auth import Credentials
from tokenguard._oauth.client_authentication import ClientAuthentication, PrivateKey, Text
from tokenguard._settings import fetched_url, number, whole
from tokenguard.errors import ConfigurationError

__all__ = ["AnswerStore", "Introspection"]

_METHODS: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "bearer")


@runtime_checkable
class AnswerStore(Protocol):
    """Where processes share introspection answers; `tokenguard.redis.RedisStore` is one. Keys are digests, never
    tokens.

    A store may raise anything: its failure only means that the server is asked.
    """

    def read_answer(self, key: bytes) -> tuple[bytes, float] | None:
        """The answer and the seconds that it may still be used, None if there is none."""
        ...

    def write_answer(self, key: bytes, answer: bytes, seconds: float) -> None:
        """Keep `answer` for `seconds`, instead of any earlier one."""
        ...

    async def read_answer_async(self, key: bytes) -> tuple[bytes, float] | None:
        """`read_answer` for event loops."""
        ...

    async def write_answer_async(self, key: bytes, answer: bytes, seconds: float) -> None:
        """`write_answer` for event loops."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Introspection:
    """Token introspection at an issuer: give it to `Issuer(..., introspection=...)`.

    `when="opaque"` asks for opaque tokens only; `when="always"` asks for every JWT too, after judging it here.
    `endpoint` is discovered from the issuer where it is not given. `client_auth` says how this API authenticates, and
    `client_id` as whom: every method but `bearer` needs it. `client_secret`, `bearer_token` and `private_key` may be
    callables, read at each use in a thread of tokenguard's own, so that a rotated secret is picked up and a slow vault
    stops no event loop.

    An assertion of `private_key_jwt` (RFC 7523 section 3) is signed with `private_key`, unencrypted PEM or a private
    JWK, by `private_key_algorithm`, RS256 if not given, which must fit the key. `private_key_id` is its `kid`, by
    default the JWK's, else none. It is addressed to the issuer; `assertion_audience` replaces that for a server that
    insists.

    `require_audience=False` lets an opaque token pass whose answer has no `aud`, which RFC 7662 section 2.2 allows:
    then every token that the server calls active is good here, whichever API it was given to. An `aud` that is there
    has to match all the same. Under `when="always"` a JWT's own `aud` was checked, and the answer needs none.

    Seconds: `cache_ttl` bounds how long an active token is not asked for again (never past its `exp`), and so how
    late a revocation may take effect; `negative_ttl` is the same for inactive ones; 0 turns either off. `stale_ttl`
    lets a positive answer outlive `cache_ttl`, only while the server gives none: it is out of reach, or sends a page, a
    redirect or a 5xx instead; not where it refuses our credentials or this token's question. `max_concurrency` bounds
    the questions in flight, `cache_size` the answers remembered, of either kind. `store` shares answers between
    processes of the same `client_id`; without one, as `client_auth="bearer"` may be, they stay in the process.
    `ssl_context` holds the client certificate of `tls_client_auth`, or a CA of the endpoint's own.

    Raises `ConfigurationError` with what to write instead.
    """

    client_id: str | None = None
    client_secret: Text | None = field(default=None, repr=False)
    endpoint: str | None = field(default=None, kw_only=True)
    client_auth: Literal[
        "client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "bearer"
    ] = field(default="client_secret_basic", kw_only=True)
    when: Literal["opaque", "always"] = field(default="opaque", kw_only=True)
    cache_ttl: float = field(default=30, kw_only=True)
    negative_ttl: float = field(default=5, kw_only=True)
    stale_ttl: float = field(default=0, kw_only=True)
    require_audience: bool = field(default=True, kw_only=True)
    bearer_token: Text | None = field(default=None, kw_only=True, repr=False)
    private_key: PrivateKey | Callable[[], PrivateKey] | None = field(default=None, kw_only=True, repr=False)
    private_key_id: str | None = field(default=None, kw_only=True)
    private_key_algorithm: str = field(default="RS256", kw_only=True)
    assertion_audience: str | None = field(default=None, kw_only=True)
    ssl_context: ssl.SSLContext | None = field(default=None, kw_only=True, repr=False)
    max_concurrency: int = field(default=100, kw_only=True)
    cache_size: int = field(default=10_000, kw_only=True)
    store: AnswerStore | None = field(default=None, kw_only=True, repr=False)
    _authentication: ClientAuthentication = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.endpoint is not None:
            fetched_url("endpoint", self.endpoint)
        if self.when not in ("opaque", "always"):
            raise ConfigurationError('when must be "opaque" or "always"')
        if not isinstance(self.require_audience, bool):
            raise ConfigurationError("require_audience must be True or False")
        for name in ("cache_ttl", "negative_ttl", "stale_ttl"):
            number(name, getattr(self, name))
        whole("max_concurrency", self.max_concurrency, minimum=1)
        whole("cache_size", self.cache_size, minimum=1)
        if not (self.ssl_context is None or isinstance(self.ssl_context, ssl.SSLContext)):
            raise ConfigurationError("ssl_context must be an ssl.SSLContext that holds the client certificate")
        if not (self.store is None or isinstance(self.store, AnswerStore)):
            raise ConfigurationError("store must be a tokenguard.redis.RedisStore, or have its four answer methods")
        if isinstance(self.private_key, Mapping):
            object.__setattr__(self, "private_key", dict(self.private_key))
        authentication = ClientAuthentication(
            methods=_METHODS,
            method=self.client_auth,
            client_id=self.client_id,
            client_secret=self.client_secret,
            bearer_token=self.bearer_token,
            private_key=self.private_key,
            private_key_id=self.private_key_id,
            private_key_algorithm=self.private_key_algorithm,
            assertion_audience=self.assertion_audience,
        )
        object.__setattr__(self, "_authentication", authentication)

    @property
    def calls_out(self) -> bool:
        """Whether `credentials` calls what the application gave, which may block. For the flow that asks."""
        return any(map(callable, (self.client_secret, self.bearer_token, self.private_key)))

    def credentials(self, *, issuer: str, now: float, jti: str) -> Credentials:
        """What authenticates one request: reads secrets and keys anew. For the flow that asks.

        Raises `ConfigurationError`, with the cause where a callable raised.
        """
        authentication = self._authentication
        return authentication.credentials(authentication.read()[0], issuer=issuer, now=now, jti=jti)
