"""`Issuer`: one authorization server, its keys and its rules, as settings.

Owns: the settings of an issuer, and rejecting invalid ones. Must not know: fetching, caches, tokens.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from tokenguard._jose import jwk, key_set, pem
from tokenguard._jose.algorithms import DEFAULT, SYMMETRIC, allow_list
from tokenguard._jose.jws import ACCESS_TOKEN_TYPES, RFC9068_TYPES
from tokenguard._oauth import fetch_credential, party
from tokenguard._oauth.fetch_credential import BearerToken
from tokenguard._oauth.party import MachineSign
from tokenguard._settings import fetched_url, number, strings
from tokenguard.errors import ConfigurationError
from tokenguard.introspection import Introspection
from tokenguard.presets import Presets
from tokenguard.token import frozen

__all__ = ["DEFAULT_ALGORITHMS", "Issuer"]

DEFAULT_ALGORITHMS: Final = DEFAULT

PublicKey: TypeAlias = str | bytes  # PEM


@frozen
@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Issuer(Presets):
    """An authorization server whose access tokens are accepted.

    - `url`: the exact `iss` of its tokens: no normalisation, a final slash counts (RFC 7519 section 4.1.1)

    Its keys are discovered from `url` (RFC 8414 section 3), which then must be an https URL without query and fragment,
    unless one of the first two is given:

    - `jwks_uri`: where they are fetched
    - `jwks`: static keys: a key set (RFC 7517), a PEM public key, or a list of these, one in each text. A PEM key has
      no name and so fits any `kid`
    - `jwks_max_age`: seconds that keys are fresh where the server says nothing else
    - `jwks_max_stale`: seconds that keys are used after that, while the server is unreachable
    - `jwks_cooldown`: seconds between two attempts
    - `jwks_bearer_token`: sent with requests for metadata and keys, where an issuer requires one: a value, or a plain
      callable such as `SecretFile`, read at each request. It goes to the origin of `url` and of a given `jwks_uri`
      only, whatever the metadata names
    - `jwks_ssl_context`: for these requests, in place of the validator's
    - `introspection`: asks the issuer about tokens

    What a token must be:

    - `algorithms`: the allow-list of header `alg`s, RS, PS and ES 256 to 512 and EdDSA if not given; HS* need a static
      `jwks` of secrets at least as long as the hash
    - `audience`: replaces the validator's
    - `profile`: `"rfc9068"` demands `typ: at+jwt` and the claims of RFC 9068 section 2.2
    - `token_types`: narrows the accepted header `typ`; None in it is an absent one
    - `required_claims`: names of claims that must be there
    - `claim_values`: maps names to a value or several, one of which the claim must be
    - `clients`: an allow-list of client ids; replaces the validator's

    Which claims of a provider are read:

    - `audience_claims`, `scope_claims`, `client_id_claims`: names; the first that is there counts
    - `role_claims`: names, or tuples of names that lead into objects; all of them count
    - `machine_signs`: decide `AccessToken.is_machine`: tuples `(claim, test, text, verdict)`, the first that fits
      decides. Tests are `present`, `absent`, `is`, `starts`, `ends` and `same_as` (another claim)

    And:

    - `tenant`: the customer whose issuer this is, as the application calls it: `AccessToken.tenant` of its tokens

    `Issuer.auth0(...)` and its like fill all this in for well-known providers; each takes the settings above as keyword
    arguments, which replace its own, except that required claims and values add to them. See docs/presets.md.

    To read, not to set:

    - `static_keys`: the usable keys of `jwks`, None where keys are fetched
    - `accepted_types`: what `profile` and `token_types` come to, in lower case; None for all that an access token may
      have
    - `has_empty_subjects`: whether an empty `sub` reads as absent, which only a preset can say

    Raises `ConfigurationError` with what to write instead.
    """

    url: str
    jwks_uri: str | None = field(default=None, kw_only=True)
    jwks: Mapping[str, Any] | PublicKey | Iterable[PublicKey] | None = field(default=None, kw_only=True, repr=False)
    algorithms: str | Iterable[str] = field(default=DEFAULT_ALGORITHMS, kw_only=True)
    audience: str | Iterable[str] | None = field(default=None, kw_only=True)
    profile: Literal["jwt", "rfc9068"] = field(default="jwt", kw_only=True)
    introspection: Introspection | None = field(default=None, kw_only=True)
    jwks_max_age: float = field(default=600, kw_only=True)
    jwks_max_stale: float = field(default=3600, kw_only=True)
    jwks_cooldown: float = field(default=30, kw_only=True)
    jwks_bearer_token: BearerToken | None = field(default=None, kw_only=True, repr=False)
    jwks_ssl_context: ssl.SSLContext | None = field(default=None, kw_only=True, repr=False)
    token_types: Iterable[str | None] | None = field(default=None, kw_only=True, repr=False)
    audience_claims: str | Iterable[str] = field(default=("aud",), kw_only=True, repr=False)
    scope_claims: str | Iterable[str] = field(default=("scope", "scp"), kw_only=True, repr=False)
    role_claims: str | Iterable[str | tuple[str, ...]] = field(default=("roles",), kw_only=True, repr=False)
    client_id_claims: str | Iterable[str] = field(default=("client_id",), kw_only=True, repr=False)
    machine_signs: Iterable[MachineSign] = field(default=(), kw_only=True, repr=False)
    required_claims: str | Iterable[str] = field(default=(), kw_only=True, repr=False)
    claim_values: Mapping[str, Any] = field(default_factory=dict[str, Any], kw_only=True, repr=False)
    clients: str | Iterable[str] | None = field(default=None, kw_only=True, repr=False)
    tenant: str | None = field(default=None, kw_only=True)
    static_keys: key_set.KeySet | None = field(default=None, init=False, repr=False)
    accepted_types: frozenset[str | None] | None = field(default=None, init=False, repr=False)
    has_empty_subjects: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.url, str) or not self.url:
            raise ConfigurationError("an issuer must be a non-empty string, exactly the iss of its tokens")
        self._set("algorithms", allow_list(self.algorithms))
        if self.audience is not None:
            self._set("audience", strings("audience", self.audience, example='audience="https://api.example.com"'))
        if not (self.tenant is None or (isinstance(self.tenant, str) and self.tenant)):
            raise ConfigurationError('tenant must be a non-empty string, such as "acme"')
        if self.profile not in ("jwt", "rfc9068"):
            raise ConfigurationError('profile must be "jwt" or "rfc9068"')
        if self.introspection is not None and not isinstance(self.introspection, Introspection):
            raise ConfigurationError("introspection must be an Introspection(...)")
        self._check_claims()
        number("jwks_max_age", self.jwks_max_age, above=True)
        number("jwks_max_stale", self.jwks_max_stale)
        number("jwks_cooldown", self.jwks_cooldown)
        self._choose_keys()
        self._check_fetches()

    def _check_claims(self) -> None:
        self._set("accepted_types", self._narrowed())
        self._set("audience_claims", party.claim_names("audience_claims", self.audience_claims, may_be_empty=False))
        for name in ("scope_claims", "client_id_claims", "required_claims"):
            self._set(name, party.claim_names(name, getattr(self, name)))
        self._set("role_claims", party.role_paths(self.role_claims))
        self._set("machine_signs", party.machine_signs(self.machine_signs))
        self._set("claim_values", MappingProxyType(dict(party.expected_values(self.claim_values))))
        if self.clients is not None:
            self._set("clients", frozenset(strings("clients", self.clients, example='clients={"orders-web"}')))
            if not self.client_id_claims:
                raise ConfigurationError("clients needs client_id_claims: these tokens name no client")

    def _narrowed(self) -> frozenset[str | None] | None:
        """The accepted header types in lower case, None for all that an access token may have."""
        accepted: frozenset[str | None] | None = RFC9068_TYPES if self.profile == "rfc9068" else None
        if self.token_types is None:
            return accepted
        given = list(self.token_types) if isinstance(self.token_types, Iterable) else []
        types = frozenset(one.lower() if isinstance(one, str) else None for one in given)
        is_odd = not all(one is None or isinstance(one, str) for one in given)
        if is_odd or isinstance(self.token_types, str) or not types or not types <= ACCESS_TOKEN_TYPES | {None}:
            raise ConfigurationError(
                'token_types must hold some of "JWT", "at+jwt", "application/at+jwt", and None for an absent typ'
            )
        if accepted is not None and types.isdisjoint(accepted):
            raise ConfigurationError('profile="rfc9068" accepts at+jwt only, and token_types leaves it out')
        return types if accepted is None else types & accepted

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

    def _check_fetches(self) -> None:
        if not (self.jwks_ssl_context is None or isinstance(self.jwks_ssl_context, ssl.SSLContext)):
            raise ConfigurationError(
                "jwks_ssl_context must be an ssl.SSLContext, such as ssl.create_default_context(cafile=...)"
            )
        if self.jwks_bearer_token is None:
            return
        fetch_credential.check(self.jwks_bearer_token)
        if self.jwks is not None and (self.introspection is None or self.introspection.endpoint is not None):
            raise ConfigurationError("jwks_bearer_token is sent with fetches, and jwks is not fetched: leave it out")

    def _import_static(self) -> key_set.KeySet:
        keys = self._import_jwks() if isinstance(self.jwks, Mapping) else self._import_pem()
        if not any(not key.algorithms.isdisjoint(self.allowed) for key in keys.keys):
            raise ConfigurationError("no key of the static jwks fits the allowed algorithms")
        return keys

    def _import_pem(self) -> key_set.KeySet:
        given = [self.jwks] if isinstance(self.jwks, str | bytes) else self.jwks
        texts: list[Any] = list(given) if isinstance(given, Iterable) else []
        if not texts or not all(isinstance(text, str | bytes) for text in texts):
            raise ConfigurationError(
                'jwks must be a JWK set (RFC 7517 section 5), {"keys": [...]}, a PEM public key, or a list of these'
            )
        if jwk.kind(self.allowed) == "symmetric":
            raise ConfigurationError("HS* needs a static jwks of shared secrets: a public key is known to everybody")
        try:
            keys = pem.import_pem(texts)
        except jwk.UnusableKeyError as error:
            raise ConfigurationError(f"a public key given as jwks is not usable: {error}") from None
        self._set("jwks", texts if len(texts) > 1 else texts[0])
        return keys

    def _import_jwks(self) -> key_set.KeySet:
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
            keys = key_set.import_set(self.jwks, symmetric=symmetric)
        except key_set.KeySetError:
            raise ConfigurationError(
                "the static jwks has no usable key, or more than 1,000: check kty, crv, use, key_ops, alg and sizes"
            ) from None
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
        if "/.well-known/" in self.url:  # providers show this URL; no token's iss is one
            raise ConfigurationError("an issuer is what its metadata calls issuer: leave out /.well-known/...")

    @property
    def allowed(self) -> tuple[str, ...]:
        """The allow-list, normalised."""
        return tuple(self.algorithms)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
