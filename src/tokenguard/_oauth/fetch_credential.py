"""The bearer token for requests for an issuer's metadata and keys (RFC 6750 section 2.1).

Owns: what it may be, reading it at each use, the origins that may get it. Must not know: settings, requests, flows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from tokenguard._jose.signing import UnusableSecretError
from tokenguard._oauth import client_auth
from tokenguard._oauth.client_authentication import check_plain, value_of
from tokenguard._oauth.origin import origin_of
from tokenguard._settings import is_fetchable
from tokenguard.errors import ConfigurationError

BearerToken: TypeAlias = str | Callable[[], str]

_NAME: Final = "jwks_bearer_token"


class FetchCredential:
    """A token and the origins that may get it: those of `urls`, without texts that are not URLs."""

    __slots__ = ("_origins", "_token")

    def __init__(self, token: BearerToken, *urls: str | None) -> None:
        self._token = token
        self._origins = {origin_of(url) for url in urls if url is not None and is_fetchable(url, allow_http=True)}

    @property
    def calls_out(self) -> bool:
        """Whether reading the token may block."""
        return callable(self._token)

    def goes_to(self, url: str) -> bool:
        """Whether `url` has one of the origins (RFC 6454 section 4): scheme, host and port."""
        return origin_of(url) in self._origins

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The header field with the token, which is read again each time. Raises `ConfigurationError`."""
        return _headers(value_of(_NAME, self._token))


def check(token: object) -> None:
    """Raise `ConfigurationError` unless it is a token, or a callable, which is not called."""
    check_plain(_NAME, token)
    if not callable(token):
        _headers(token)


def _headers(token: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(token, str) or not token:
        raise ConfigurationError(
            "jwks_bearer_token must be a non-empty string, or a callable that returns one, such as SecretFile(path)"
        )
    try:
        return client_auth.bearer(token).headers
    except UnusableSecretError as error:
        raise ConfigurationError(f"jwks_bearer_token cannot be used: {error}") from None
