"""`Issuer`: one authorization server, its keys and its rules, as settings.

Owns: what may be said of an issuer, and refusing what may not. Must not know: fetching, caches, tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tokenguard._rules import jwk
from tokenguard._rules.algorithms import DEFAULT, SYMMETRIC, allow_list
from tokenguard._rules.settings import fetched_url, number, strings
from tokenguard.errors import ConfigurationError
from tokenguard.introspection import Introspection

__all__ = ["DEFAULT_ALGORITHMS", "Issuer"]

DEFAULT_ALGORITHMS: Final = DEFAULT


@dataclass(frozen=True, slots=True, eq=False)
class Issuer:
    """An authorization server whose access tokens are accepted.

    `url` is the exact `iss` of its tokens: no normalisation, a final slash counts (RFC 7519 section 4.1.1). Keys come from
    `jwks` (static, RFC 7517), from `jwks_uri`, or are discovered from `url` (RFC 8414 section 3), which then must be an
    https URL without query and fragment. Ages are seconds: `jwks_max_age` is used where the server gives none,
    `jwks_max_stale` bounds how long keys outlive their freshness while the server is out of reach, `jwks_cooldown` spaces
    attempts. `audience` replaces the validator's. `profile="rfc9068"` demands `typ: at+jwt` and the claims of RFC 9068
    section 2.2. HS* algorithms need a static `jwks` of secrets at least as long as the hash.

    Raises `ConfigurationError` with what to write instead.
    """

    url: str
    jwks_uri: str | None = field(default=None, kw_only=True)
    jwks: Mapping[str, Any] | None = field(default=None, kw_only=True, repr=False)
    algorithms: str | Iterable[str] = field(default=DEFAULT_ALGORITHMS, kw_only=True)
    audience: str | Iterable[str] | None = field(default=None, kw_only=True)
    profile: Literal["jwt", "rfc9068"] = field(default="jwt", kw_only=True)
    introspection: Introspection | None = field(default=None, kw_only=True)
    jwks_max_age: float = field(default=600, kw_only=True)
    jwks_max_stale: float = field(default=3600, kw_only=True)
    jwks_cooldown: float = field(default=30, kw_only=True)
    static_keys: jwk.KeySet | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.url, str) or not self.url:
            raise ConfigurationError("an issuer must be a non-empty string, exactly the iss of its tokens")
        self._set("algorithms", allow_list(self.algorithms))
        if self.audience is not None:
            self._set("audience", strings("audience", self.audience, example='audience="https://api.example.com"'))
        if self.profile not in ("jwt", "rfc9068"):
            raise ConfigurationError('profile must be "jwt" or "rfc9068"')
        if self.introspection is not None and not isinstance(self.introspection, Introspection):
            raise ConfigurationError("introspection must be an Introspection(...)")
        number("jwks_max_age", self.jwks_max_age, above=True)
        number("jwks_max_stale", self.jwks_max_stale)
        number("jwks_cooldown", self.jwks_cooldown)
        self._choose_keys()

    def _choose_keys(self) -> None:
        if self.jwks is not None:
            if self.jwks_uri is not None:
                raise ConfigurationError("give either jwks or jwks_uri, not both")
            self._set("static_keys", self._import_static())
        elif not SYMMETRIC.isdisjoint(self.algorithms):
            raise ConfigurationError("HS* needs a static jwks: a shared secret is never fetched; use RS256 or ES256")
        elif self.jwks_uri is not None:
            fetched_url("jwks_uri", self.jwks_uri)
        else:
            self.check_discoverable()
        introspection = self.introspection
        if introspection is not None and introspection.endpoint is None:
            self.check_discoverable()

    def _import_static(self) -> jwk.KeySet:
        symmetric = jwk.kind(self.allowed) == "symmetric"
        members = self.jwks.get("keys") if isinstance(self.jwks, Mapping) else None
        if not isinstance(members, list | tuple):
            raise ConfigurationError('jwks must be a JWK set (RFC 7517 section 5): {"keys": [...]}')
        if symmetric:
            for member in members:
                try:
                    jwk.import_key(member, symmetric=True)
                except jwk.UnusableKeyError as error:
                    raise ConfigurationError(f"a key of the static jwks is not usable: {error}") from None
        try:
            keys = jwk.import_set(self.jwks, symmetric=symmetric)
        except jwk.KeySetError:
            raise ConfigurationError(
                "the static jwks has no usable key, or more than 1,000: check kty, crv, use, key_ops, alg and sizes"
            ) from None
        if not any(not key.algorithms.isdisjoint(self.allowed) for key in keys.keys):
            raise ConfigurationError("no key of the static jwks fits the allowed algorithms")
        return keys

    def check_discoverable(self) -> None:
        """Raise `ConfigurationError` unless `url` can be the start of discovery (RFC 8414 section 2)."""
        try:
            fetched_url("issuer", self.url)
        except ConfigurationError:
            raise ConfigurationError(
                "an issuer that is discovered must be an https URL without user information, query and fragment;"
                " for any other issuer give jwks_uri or jwks"
            ) from None
        if "?" in self.url:
            raise ConfigurationError("an issuer that is discovered must not have a query; give jwks_uri or jwks")

    @property
    def allowed(self) -> tuple[str, ...]:
        """The allow-list, normalised."""
        return tuple(self.algorithms)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
