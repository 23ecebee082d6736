"""`Introspection`: how to ask an issuer whether a token is active (RFC 7662), as settings.

Owns: the settings of an introspection endpoint and of our credentials there, and rejecting invalid ones.
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
from tokenguard.token import frozen

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


@frozen
@dataclass(frozen=True, slots=True, eq=False)
class Introspection:
    """Token introspection at an issuer: give it to `Issuer(..., introspection=...)`.

    - `when`: `"opaque"` asks about opaque tokens only; `"always"` about every JWT too, after validating it here
    - `endpoint`: its URL; None: discovered from the issuer
    - `require_audience`: False accepts an opaque token whose answer has no `aud`, which RFC 7662 section 2.2 allows:
      then every token that the server calls active is good here, whichever API it was issued for. An `aud` that is
      there must match. Under `when="always"` the `aud` of the JWT was checked, and the answer needs none

    How this API authenticates to the server. Secrets, tokens and keys may be callables, read at each use in a thread of
    tokenguard's own: a rotated secret is used at once, and a slow vault stops no event loop.

    - `client_auth`: the method
    - `client_id`: the client that asks; every method but `bearer` needs it
    - `client_secret`: of the two `client_secret_` methods
    - `bearer_token`: of `bearer`
    - `private_key`: of `private_key_jwt` (RFC 7523 section 3): unencrypted PEM or a private JWK
    - `private_key_algorithm`: must fit the key
    - `private_key_id`: the `kid` of its assertions; None: the JWK's, else none
    - `assertion_audience`: the `aud` of its assertions, for a server that requires another one; None: the issuer
    - `ssl_context`: holds the client certificate of `tls_client_auth`, or a CA of the endpoint's own

    What is remembered:

    - `cache_ttl`: seconds that an active token is not asked about again, never past its `exp`; a revocation may take
      effect so late; 0 turns it off
    - `negative_ttl`: the same for inactive ones
    - `stale_ttl`: seconds that a positive answer outlives `cache_ttl`, only while the server gives no answer: it is
      unreachable, or sends a page, a redirect or a 5xx instead; not where it rejects our credentials or the question
    - `cache_size`: answers remembered, of either kind
    - `store`: shares answers between processes of the same `client_id`; without one, as `client_auth="bearer"` may be,
      they stay in the process
    - `max_concurrency`: questions at once

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
        """Whether `authenticator` calls a function of the application, which may block. For the flow that asks."""
        return any(map(callable, (self.client_secret, self.bearer_token, self.private_key)))

    def credentials(self, *, issuer: str, now: float, jti: str) -> Credentials:
        """What authenticates one request: reads secrets and keys again.

        Raises `ConfigurationError`, with the cause where a callable raised.
        """
        return self.authenticator(issuer=issuer, now=now)(jti)

    def authenticator(self, *, issuer: str, now: float) -> Callable[[str], Credentials]:
        """Reads secrets and keys again. The result makes of a `jti` what authenticates one request, and calls nothing
        of the application. For the flow that asks.

        Raises `ConfigurationError`, with the cause where a callable raised.
        """
        secret = self._authentication.read()[0]
        return lambda jti: self._authentication.credentials(secret, issuer=issuer, now=now, jti=jti)
