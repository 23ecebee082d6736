"""`Introspection`: how to ask an issuer whether a token is active (RFC 7662), as settings.

Owns: what may be said of an introspection endpoint and of our credentials there, and refusing what may not.
Must not know: fetching, caches, tokens.
"""

from __future__ import annotations

import inspect
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

from tokenguard._oauth import client_auth
from tokenguard._oauth.client_auth import Credentials, SigningKey, UnusableSecretError
from tokenguard._settings import fetched_url, number, whole
from tokenguard.errors import ConfigurationError

__all__ = ["AnswerStore", "Introspection"]

Secret: TypeAlias = str | Callable[[], str]
PrivateKey: TypeAlias = str | bytes | Mapping[str, Any]

# What each method needs. Credentials of another method beside them are not looked at.
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "client_secret_basic": ("client_id", "client_secret"),
    "client_secret_post": ("client_id", "client_secret"),
    "private_key_jwt": ("client_id", "private_key"),
    "tls_client_auth": ("client_id",),
    "bearer": ("bearer_token",),
}
_SECRETS: Final = ("client_secret", "private_key", "bearer_token")


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
    callables, read at each use, so that a rotated secret is picked up.

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
    client_secret: Secret | None = field(default=None, repr=False)
    endpoint: str | None = field(default=None, kw_only=True)
    client_auth: Literal[
        "client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "bearer"
    ] = field(default="client_secret_basic", kw_only=True)
    when: Literal["opaque", "always"] = field(default="opaque", kw_only=True)
    cache_ttl: float = field(default=30, kw_only=True)
    negative_ttl: float = field(default=5, kw_only=True)
    stale_ttl: float = field(default=0, kw_only=True)
    require_audience: bool = field(default=True, kw_only=True)
    bearer_token: Secret | None = field(default=None, kw_only=True, repr=False)
    private_key: PrivateKey | Callable[[], PrivateKey] | None = field(default=None, kw_only=True, repr=False)
    private_key_id: str | None = field(default=None, kw_only=True)
    private_key_algorithm: str = field(default="RS256", kw_only=True)
    assertion_audience: str | None = field(default=None, kw_only=True)
    ssl_context: ssl.SSLContext | None = field(default=None, kw_only=True, repr=False)
    max_concurrency: int = field(default=100, kw_only=True)
    cache_size: int = field(default=10_000, kw_only=True)
    store: AnswerStore | None = field(default=None, kw_only=True, repr=False)
    _signing: tuple[PrivateKey, SigningKey] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.endpoint is not None:
            fetched_url("endpoint", self.endpoint)
        if self.client_auth not in client_auth.METHODS:
            raise ConfigurationError(f"client_auth must be one of {', '.join(client_auth.METHODS)}")
        if self.when not in ("opaque", "always"):
            raise ConfigurationError('when must be "opaque" or "always"')
        if not isinstance(self.require_audience, bool):
            raise ConfigurationError("require_audience must be True or False")
        for name in ("cache_ttl", "negative_ttl", "stale_ttl"):
            number(name, getattr(self, name))
        whole("max_concurrency", self.max_concurrency, minimum=1)
        whole("cache_size", self.cache_size, minimum=1)
        for name in ("client_id", "private_key_id", "assertion_audience"):
            _text(name, getattr(self, name))
        if not (self.ssl_context is None or isinstance(self.ssl_context, ssl.SSLContext)):
            raise ConfigurationError("ssl_context must be an ssl.SSLContext that holds the client certificate")
        if not (self.store is None or isinstance(self.store, AnswerStore)):
            raise ConfigurationError("store must be a tokenguard.redis.RedisStore, or have its four answer methods")
        if self.private_key_algorithm not in client_auth.SIGNING_ALGORITHMS:
            names = ", ".join(client_auth.SIGNING_ALGORITHMS)
            raise ConfigurationError(f"private_key_algorithm must be one of {names}")
        self._check_credentials()

    def _check_credentials(self) -> None:
        needed = _NEEDS[self.client_auth]
        for name in needed:
            if getattr(self, name) is None:
                raise ConfigurationError(f"client_auth={self.client_auth!r} needs {' and '.join(needed)}: give {name}")
        for name in _SECRETS:
            value = getattr(self, name)
            if value is None:
                continue
            if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(value, "__call__", None)):  # noqa: B004
                raise ConfigurationError(f"{name} must be a value or a plain callable, not a coroutine function")
            if name == "private_key" and isinstance(value, Mapping):
                object.__setattr__(self, name, dict(value))
        if not any(callable(getattr(self, name)) for name in needed):
            self.credentials(issuer="", now=0, jti="")  # a wrong key or secret is told now, not at the first request

    def credentials(self, *, issuer: str, now: float, jti: str) -> Credentials:
        """What authenticates one request: reads secrets and keys anew. For the flow that asks.

        Raises `ConfigurationError`, with the cause where a callable raised.
        """
        client_id = self.client_id or ""
        try:
            match self.client_auth:
                case "client_secret_basic":
                    return client_auth.basic(client_id, self._read_text("client_secret"))
                case "client_secret_post":
                    return client_auth.post(client_id, self._read_text("client_secret"))
                case "tls_client_auth":
                    return client_auth.tls(client_id)
                case "bearer":
                    return client_auth.bearer(self._read_text("bearer_token"))
                case _:  # private_key_jwt
                    key, audience = self._key(), self.assertion_audience or issuer
                    return client_auth.assertion(
                        client_id, key, key_id=self.private_key_id, audience=audience, now=now, jti=jti
                    )
        except UnusableSecretError as error:
            name = "bearer_token" if self.client_auth == "bearer" else "private_key"
            raise ConfigurationError(f"{name} cannot be used: {error}") from None

    def _read_text(self, name: str) -> str:
        value = self._read(name)
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{name} must be a non-empty string, or a callable that returns one")
        return _text(name, value)

    def _key(self) -> SigningKey:
        """The key, parsed once for as long as the same source is given."""
        source = self._read("private_key")
        if not isinstance(source, str | bytes | Mapping) or not source:
            raise ConfigurationError("private_key must be PEM (str or bytes), a private JWK, or a callable for one")
        signing = self._signing
        if signing is None or signing[0] != source:
            key = client_auth.signing_key(source, self.private_key_algorithm)
            signing = (dict(source) if isinstance(source, Mapping) else source, key)
            object.__setattr__(self, "_signing", signing)
        return signing[1]

    def _read(self, name: str) -> object:
        value: object = getattr(self, name)
        if not callable(value):
            return value
        try:
            return value()
        except Exception as error:
            raise ConfigurationError(f"the callable given as {name} raised; see the cause") from error


def _text(name: str, value: object) -> str:
    """A string that can be sent, or None. No control characters, no lone surrogates."""
    if value is None:
        return ""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ConfigurationError(f"{name} must be a non-empty string of printable characters")
    return value
