"""Bad tokens, the well-signed ones: each lies in exactly one place.

Owns: one method per kind, and the `Reason` that the validator must give for it.
Must not know: HTTP, how the validator finds out.

The reasons hold for a validator of this issuer with default settings, reachable keys and the issuer's own clock.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final, NamedTuple, TypeVar

from tokenguard.errors import Reason
from tokenguard.testing.minting import Mint
from tokenguard.testing.tokens import ABSENT, b64url

__all__ = ["BadToken", "DeceitfulMint", "When", "bad"]

_HOUR = 3600
_LOGOUT: Final[dict[str, dict[str, object]]] = {"http://schemas.openid.net/event/backchannel-logout": {}}
_Made = TypeVar("_Made", bound=Callable[..., str])


class BadToken(NamedTuple):
    """A bad token and why it must be rejected. Unpacks to the two; its `repr` hides the token.

    - `token`: as a client sends it
    - `reason`: the check that must reject it
    """

    token: str
    reason: Reason

    def __repr__(self) -> str:
        return f"BadToken(reason={self.reason!r})"


class When(Enum):
    """Which validators a kind is bad for."""

    ALWAYS = "always"
    NOT_INTROSPECTED = "it is no JWT: with introspection it would be an opaque token, validated there"
    INTROSPECTED = "only introspection, or a denylist, can reject it"
    ASYMMETRIC = "it needs a public key to abuse"


class _Kind(NamedTuple):
    reason: Reason
    when: When


_kinds: Final[dict[str, _Kind]] = {}


def bad(reason: Reason, when: When = When.ALWAYS) -> Callable[[_Made], _Made]:
    """Enter a method without required arguments into `bad_tokens()`, under its name."""

    def enter(method: _Made) -> _Made:
        _kinds[method.__name__] = _Kind(reason, when)
        return method

    return enter


class DeceitfulMint(Mint):
    """A `Mint` that also makes bad tokens. `claims` of each method are those of `mint`, so any kind can be varied."""

    def bad_tokens(self, *, introspected: bool = False) -> dict[str, BadToken]:
        """Every kind of bad token by name, made now: `{"expired": BadToken(token, Reason.EXPIRED), …}`.

        `introspected=True`: the kinds for a validator that also introspects JWTs (`when="always"`): `revoked` and
        `unknown_opaque` are there, and those that are no JWT are not, because the authorization server validates them.
        """
        left_out = {When.NOT_INTROSPECTED if introspected else When.INTROSPECTED}
        if self.symmetric:
            left_out.add(When.ASYMMETRIC)
        return {
            name: BadToken(getattr(self, name)(), kind.reason)
            for name, kind in _kinds.items()
            if kind.when not in left_out
        }

    def _with(self, claims: dict[str, Any], **fault: Any) -> str:
        return self.mint(**{**fault, **claims})

    # Times

    @bad(Reason.EXPIRED)
    def expired(self, *, seconds: float = _HOUR, **claims: Any) -> str:
        """`exp` passed `seconds` ago. `Reason.EXPIRED`."""
        return self._with(claims, expires_in=-seconds, iat=int(self.clock()) - 2 * _HOUR)

    @bad(Reason.NOT_YET_VALID)
    def not_yet_valid(self, *, seconds: float = _HOUR, **claims: Any) -> str:
        """`nbf` lies `seconds` ahead. `Reason.NOT_YET_VALID`."""
        return self._with(claims, expires_in=seconds + _HOUR, nbf=int(self.clock()) + seconds)

    @bad(Reason.ISSUED_IN_FUTURE)
    def issued_in_future(self, *, seconds: float = _HOUR, **claims: Any) -> str:
        """`iat` lies `seconds` ahead. `Reason.ISSUED_IN_FUTURE`."""
        return self._with(claims, expires_in=seconds + _HOUR, iat=int(self.clock()) + seconds)

    # Claims

    @bad(Reason.ISSUER)
    def wrong_issuer(self, **claims: Any) -> str:
        """`iss` is another server, the signature is ours. `Reason.ISSUER`."""
        return self._with(claims, iss="https://other-issuer.example")

    @bad(Reason.ISSUER)
    def issuer_with_slash(self, **claims: Any) -> str:
        """`iss` differs by its final slash alone; comparison is exact (RFC 8414 section 3.3). `Reason.ISSUER`."""
        other = self.url.removesuffix("/") if self.url.endswith("/") else f"{self.url}/"
        return self._with(claims, iss=other)

    @bad(Reason.ISSUER)
    def no_issuer(self, **claims: Any) -> str:
        """No `iss`. `Reason.ISSUER`."""
        return self._with(claims, iss=ABSENT)

    @bad(Reason.AUDIENCE)
    def wrong_audience(self, **claims: Any) -> str:
        """`aud` is another API. `Reason.AUDIENCE`."""
        return self._with(claims, aud="https://other-api.example")

    @bad(Reason.AUDIENCE)
    def no_audience(self, **claims: Any) -> str:
        """No `aud`. `Reason.AUDIENCE`."""
        return self._with(claims, aud=ABSENT)

    @bad(Reason.MISSING_CLAIM)
    def no_expiry(self, **claims: Any) -> str:
        """No `exp`: it would never expire. `Reason.MISSING_CLAIM`."""
        return self._with(claims, exp=ABSENT)

    @bad(Reason.INVALID_CLAIM)
    def expiry_as_string(self, **claims: Any) -> str:
        """`exp` is a numeral in a string. `Reason.INVALID_CLAIM`."""
        return self._with(claims, exp=str(int(self.clock()) + _HOUR))

    @bad(Reason.INVALID_CLAIM)
    def expiry_as_boolean(self, **claims: Any) -> str:
        """`exp` is `true`. `Reason.INVALID_CLAIM`."""
        return self._with(claims, exp=True)

    @bad(Reason.INVALID_CLAIM)
    def expiry_null(self, **claims: Any) -> str:
        """`exp` is `null`, which does not read as absent here. `Reason.INVALID_CLAIM`."""
        return self._with(claims, exp=None)

    @bad(Reason.INVALID_CLAIM)
    def not_before_as_string(self, **claims: Any) -> str:
        """`nbf` is a string. `Reason.INVALID_CLAIM`."""
        return self._with(claims, nbf="0")

    @bad(Reason.INVALID_CLAIM)
    def issued_at_as_boolean(self, **claims: Any) -> str:
        """`iat` is `false`. `Reason.INVALID_CLAIM`."""
        return self._with(claims, iat=False)

    @bad(Reason.INVALID_CLAIM)
    def subject_as_number(self, **claims: Any) -> str:
        """`sub` is a number. `Reason.INVALID_CLAIM`."""
        return self._with(claims, sub=7)

    @bad(Reason.INVALID_CLAIM)
    def subject_empty(self, **claims: Any) -> str:
        """`sub` is the empty string. `Reason.INVALID_CLAIM`."""
        return self._with(claims, sub="")

    # Kinds of token

    @bad(Reason.TYPE)
    def id_token(self, **claims: Any) -> str:
        """An ID token by its payload (Keycloak's `typ`); the header says plain `JWT`. `Reason.TYPE`."""
        return self._with(claims, header={"typ": "JWT"}, typ="ID", nonce="n-0S6_WzA2Mj")

    @bad(Reason.TYPE)
    def cognito_id_token(self, **claims: Any) -> str:
        """An ID token by `token_use` (Amazon Cognito); no `typ` in the header. `Reason.TYPE`."""
        return self._with(claims, header={"typ": ABSENT}, token_use="id")

    @bad(Reason.TYPE)
    def refresh_token(self, **claims: Any) -> str:
        """A refresh token by its payload (Keycloak's `typ`). `Reason.TYPE`."""
        return self._with(claims, header={"typ": "JWT"}, typ="Refresh")

    @bad(Reason.TYPE)
    def logout_token(self, **claims: Any) -> str:
        """A logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4). `Reason.TYPE`."""
        return self._with(claims, header={"typ": "logout+jwt"}, events=dict(_LOGOUT))

    @bad(Reason.TYPE)
    def unmarked_logout_token(self, **claims: Any) -> str:
        """A logout token whose header says plain `JWT`: only `events` shows it. `Reason.TYPE`."""
        return self._with(claims, header={"typ": "JWT"}, events=dict(_LOGOUT))

    @bad(Reason.TYPE)
    def dpop_proof(self, **claims: Any) -> str:
        """A DPoP proof's `typ` (RFC 9449 section 4.2) over an access token's claims. `Reason.TYPE`."""
        return self._with(claims, header={"typ": "dpop+jwt"}, htm="GET")

    @bad(Reason.TYPE)
    def type_null(self, **claims: Any) -> str:
        """`typ` is `null`, which is not absent. `Reason.TYPE`."""
        return self._with(claims, header={"typ": None})

    @bad(Reason.CONFIRMATION)
    def dpop_bound(self, **claims: Any) -> str:
        """Bound to a DPoP key (RFC 9449 section 6.1): not a bearer token. `Reason.CONFIRMATION`."""
        return self._with(claims, cnf={"jkt": b64url(bytes(32))})

    @bad(Reason.CONFIRMATION)
    def certificate_bound(self, **claims: Any) -> str:
        """Bound to a client certificate (RFC 8705 section 3.1): not a bearer token. `Reason.CONFIRMATION`."""
        return self._with(claims, cnf={"x5t#S256": b64url(bytes(32))})

    @bad(Reason.REVOKED, When.INTROSPECTED)
    def revoked(self, **claims: Any) -> str:
        """Good in itself, and revoked. `Reason.REVOKED` where JWTs are introspected, accepted where not."""
        token = self.mint(**claims)
        self.revoke(token)
        return token

    @bad(Reason.REVOKED, When.INTROSPECTED)
    def unknown_opaque(self) -> str:
        """Looks like an opaque token, never issued. `Reason.REVOKED` with introspection, `MALFORMED` without."""
        return b64url(self._random_bytes(32))
