"""The settings by which this client authenticates at an authorization server, and reading them for each request.

Owns: the secrets that a method needs, rejecting settings that cannot work, reading values and callables again, two
secrets at a time.
Must not know: the form of a method on the wire (`client_auth`), the endpoint, the clock, threads.

Whoever asks calls `read` where a callable may block, and `credentials` with one of the secrets that it gave.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, TypeAlias

from tokenguard._jose.signing import SIGNING_ALGORITHMS, SigningKey, UnusableSecretError, signing_key
from tokenguard._oauth import client_auth
from tokenguard._oauth.client_auth import Credentials
from tokenguard.errors import ConfigurationError
from tokenguard.secret_file import SecretFile

Text: TypeAlias = str | Callable[[], str]
PrivateKey: TypeAlias = str | bytes | Mapping[str, Any]
Secret: TypeAlias = str | bytes | Mapping[str, Any] | None
"""One thing that can authenticate, as it was read. None for a method that has none."""

# What each method needs. Credentials of another method beside them are not looked at.
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "client_secret_basic": ("client_id", "client_secret"),
    "client_secret_post": ("client_id", "client_secret"),
    "private_key_jwt": ("client_id", "private_key"),
    "tls_client_auth": ("client_id",),
    "bearer": ("bearer_token",),
    "none": (),
}
# What may come from a callable, read at each use.
_CALLABLE: Final = ("client_secret", "bearer_token", "client_assertion", "subject_token")
_ASSERTED: Final = ("client_assertion",)  # the platform's own; it may name the client by itself (RFC 7521 section 4.2)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ClientAuthentication:
    """One client's credentials at one server. Each secret is a value or a plain callable; `client_secret` may be two of
    them, or a callable that returns two, the current one first.

    Raises `ConfigurationError`, with what to write instead.
    """

    methods: tuple[str, ...]
    method: str
    client_id: str | None = None
    client_secret: object = field(default=None, repr=False)
    bearer_token: object = field(default=None, repr=False)
    private_key: object = field(default=None, repr=False)
    private_key_id: str | None = None
    private_key_algorithm: str = "RS256"
    client_assertion: object = field(default=None, repr=False)
    assertion_audience: str | None = None
    _signing: tuple[PrivateKey, SigningKey] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.method not in self.methods:
            raise ConfigurationError(f"client_auth must be one of {', '.join(self.methods)}")
        for name in ("client_id", "private_key_id", "assertion_audience"):
            if getattr(self, name) is not None:
                printable(name, getattr(self, name))
        if self.private_key_algorithm not in SIGNING_ALGORITHMS:
            names = ", ".join(SIGNING_ALGORITHMS)
            raise ConfigurationError(f"private_key_algorithm must be one of {names}")
        needed = _ASSERTED if self._is_asserted else _NEEDS[self.method]
        for name in needed:
            if getattr(self, name) is None:
                raise ConfigurationError(f"client_auth={self.method!r} needs {' and '.join(needed)}: give {name}")
        for name in ("client_secret", "private_key", "bearer_token", "client_assertion"):
            check_plain(name, getattr(self, name))
        if isinstance(self.private_key, Mapping):
            object.__setattr__(self, "private_key", dict(self.private_key))
        if not any(callable(one) for name in needed for one in _each(getattr(self, name))):
            for secret in self.read():  # a wrong key or secret is reported now, not at the first request
                self.credentials(secret, issuer="", now=0, jti="")

    @property
    def _is_asserted(self) -> bool:
        return self.method == "private_key_jwt" and self.client_assertion is not None

    @property
    def is_long_lived(self) -> bool:
        """Whether another secret than the last means that it was rotated. An assertion is another one each time."""
        return not self._is_asserted

    def read(self) -> tuple[Secret, ...]:
        """What can authenticate, read again, the preferred one first. A callable of the application may block here.

        Raises `ConfigurationError`, with the cause where a callable raised.
        """
        match self.method:
            case "client_secret_basic" | "client_secret_post":
                return self._secrets()
            case "bearer":
                return (printable("bearer_token", value_of("bearer_token", self.bearer_token)),)
            case "private_key_jwt":
                if self._is_asserted:
                    return (printable("client_assertion", value_of("client_assertion", self.client_assertion)),)
                source = value_of("private_key", self.private_key)
                if not isinstance(source, str | bytes | Mapping) or not source:
                    raise ConfigurationError(
                        "private_key must be PEM (str or bytes), a private JWK, or a callable for one"
                    )
                return (source,)
            case _:
                return (None,)

    def _secrets(self) -> tuple[str, ...]:
        found: dict[str, None] = {}
        given = self.client_secret if isinstance(self.client_secret, tuple) else (self.client_secret,)
        for one in given:
            value = value_of("client_secret", one)
            for secret in value if isinstance(value, tuple) and callable(one) else (value,):
                found[printable("client_secret", secret)] = None
        if not 1 <= len(found) <= 2:
            raise ConfigurationError("client_secret must be one secret, or two: (current, previous)")
        return tuple(found)

    def credentials(self, secret: Secret, *, issuer: str, now: float, jti: str) -> Credentials:
        """What authenticates one request, by a secret that `read` gave. Raises `ConfigurationError`."""
        client_id, text = self.client_id or "", secret if isinstance(secret, str) else ""
        try:
            match self.method:
                case "client_secret_basic":
                    return client_auth.basic(client_id, text)
                case "client_secret_post":
                    return client_auth.post(client_id, text)
                case "tls_client_auth":
                    return client_auth.tls(client_id)
                case "bearer":
                    return client_auth.bearer(text)
                case "none":
                    return client_auth.public(self.client_id)
                case _ if self._is_asserted:
                    return client_auth.presented(self.client_id, text)
                case _:
                    key, audience = self._key(secret), self.assertion_audience or issuer
                    return client_auth.assertion(
                        client_id, key, key_id=self.private_key_id, audience=audience, now=now, jti=jti
                    )
        except UnusableSecretError as error:
            name = {"bearer": "bearer_token", "private_key_jwt": "private_key"}.get(self.method, "")
            name = "client_assertion" if self._is_asserted else name
            raise ConfigurationError(f"{name} cannot be used: {error}") from None

    def _key(self, source: Any) -> SigningKey:
        """The key, parsed once for as long as the same source is given."""
        signing = self._signing
        if signing is None or signing[0] != source:
            key = signing_key(source, self.private_key_algorithm)
            signing = (dict(source) if isinstance(source, Mapping) else source, key)
            object.__setattr__(self, "_signing", signing)
        return signing[1]


def fingerprint(secret: Secret) -> bytes:
    """Distinguishes one secret from another, without keeping either."""
    text = repr(sorted(secret.items(), key=str)) if isinstance(secret, Mapping) else secret or ""
    return sha256(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")).digest()


def value_of(name: str, source: object) -> object:
    """A value, or a callable's result. Raises `ConfigurationError`, with the cause if the callable raised."""
    if not callable(source):
        return source
    try:
        return source()
    except Exception as error:
        if isinstance(source, SecretFile):  # its texts are constants, so they may be logged where no cause is
            raise ConfigurationError(f"{name}: {error}") from error
        raise ConfigurationError(f"the callable given as {name} raised; see the cause") from error


def printable(name: str, value: object) -> str:
    """A string that can be sent: not empty, no control characters, no lone surrogates."""
    if not isinstance(value, str) or not value:
        or_called = ", or a callable that returns one" if name in _CALLABLE else ""
        raise ConfigurationError(f"{name} must be a non-empty string{or_called}")
    if not value.isprintable():
        raise ConfigurationError(f"{name} must be a non-empty string of printable characters")
    return value


def check_plain(name: str, value: object) -> None:
    """Reject a coroutine function: nothing would ever await it."""
    for one in _each(value):
        if inspect.iscoroutinefunction(one) or inspect.iscoroutinefunction(getattr(one, "__call__", None)):  # noqa: B004
            raise ConfigurationError(f"{name} must be a value or a plain callable, not a coroutine function")


def _each(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)
