"""What every `AccessTokenAuth` has in common: the origins that get a token, the headers of a request, a 401.

Owns: the origins of one API, the rule for a repeat. Must not know: HTTP clients, how a token is got.

A challenge never changes where tokens are got or sent (threat 103). It may only keep a request from being repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from tokenguard._oauth.challenges import errors
from tokenguard._oauth.origin import Origin, origin_of
from tokenguard._settings import fetched_url, strings
from tokenguard.client import IssuedToken, TokenSource
from tokenguard.errors import ConfigurationError

_UNAUTHORIZED: Final = 401

Verdict = Literal["done", "nonce", "discarded"]


class Outgoing:
    """The tokens of one API. `check` an origin before `token`; `answered` says what an answer means."""

    def __init__(
        self,
        tokens: TokenSource,
        origin: str | Iterable[str],
        *,
        scope: str | Iterable[str] | None,
        resource: str | Iterable[str] | None,
        audience: str | Iterable[str] | None,
    ) -> None:
        if not isinstance(tokens, TokenSource):
            raise ConfigurationError("tokens must be a TokenSource(...)")
        self._tokens = tokens
        self.needs_proofs = tokens.proofs is not None
        self.origins = frozenset(
            _checked(one, allows_http=tokens.allows_http)
            for one in strings("origin", origin, example='origin="https://payments.example.com"')
        )
        asked = tokens.asked(scope, resource, audience)  # once: an iterator would be empty the next time
        self._asked: dict[str, Any] = {
            "scope": None if scope is None else asked.scopes,
            "resource": None if resource is None else asked.resource,
            "audience": None if audience is None else asked.audience,
        }

    def check(self, origin: Origin) -> None:
        """Raise `ConfigurationError` for a request to another origin."""
        if origin not in self.origins:
            raise ConfigurationError(
                "a request to an origin that this AccessTokenAuth was not made for: it was not sent. Name the origin,"
                " or use a client without this auth"
            )

    def token(self) -> IssuedToken:
        """The token for a request."""
        return self._tokens.token(**self._asked)

    async def token_async(self) -> IssuedToken:
        """`token` for event loops."""
        return await self._tokens.token_async(**self._asked)

    def proof(self, token: IssuedToken, method: str, url: str) -> str:
        """The DPoP proof for one request, which `needs_proofs`."""
        assert self._tokens.proofs is not None  # noqa: S101 - asked for where there are such
        return self._tokens.proofs.proof(method, url, token.access_token)

    def is_plain(self, status: int) -> bool:
        """Whether an answer of this status means nothing here, whatever else it says."""
        return status != _UNAUTHORIZED and not self.needs_proofs

    def answered(
        self,
        token: IssuedToken,
        status: int,
        origin: Origin,
        url: str,
        sent: str | None,
        challenges: list[str],
        nonce: str | None,
    ) -> Verdict:
        """What the answer to a request with `token` means, and with it the end of that token where it says so.

        `sent`: the `Authorization` of the request that was answered; a redirect may have removed it. Result: `nonce`:
        send the request again, the API asked for a nonce. `discarded`: another token may be better. `done`: neither.
        """
        if origin not in self.origins or sent != token.authorization:
            return "done"
        proofs = self._tokens.proofs
        has_nonce = proofs is not None and proofs.note(url, nonce)
        if status != _UNAUTHORIZED:
            return "done"
        named = errors(challenges, token.token_type)
        if has_nonce and "use_dpop_nonce" in named:
            return "nonce"
        if named - {"invalid_token"}:
            return "done"
        self._tokens.discard(token)
        return "discarded"


def is_another(token: IssuedToken, last: IssuedToken) -> bool:
    """Whether the server issued another token, and not the same one again."""
    return token.access_token != last.access_token


def _checked(url: str, *, allows_http: bool) -> Origin:
    url = fetched_url("origin", url)
    parts = urlsplit(url)
    if "*" in parts.netloc:
        raise ConfigurationError("origin must name each host: there are no wildcards")
    if parts.scheme != "https" and not allows_http:
        raise ConfigurationError(
            "origin must be https: over http anyone on the way can take the token; for development only, let the"
            " TokenSource have allow_insecure_http=True"
        )
    return origin_of(url)
