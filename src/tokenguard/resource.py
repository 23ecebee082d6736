"""What an API says of itself, as settings: `DPoP` and `MutualTLS`, how it checks that a token is used by the client
that it was issued to; `ResourceMetadata`, which it publishes.

Owns: what may be said of them, and rejecting what may not. Must not know: tokens, requests, what was used before:
settings hold no state, so one of them may serve several validators.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable
from urllib.parse import urlsplit

from tokenguard._jose.algorithms import DEFAULT, SYMMETRIC, allow_list
from tokenguard._oauth.certificate import FORMATS
from tokenguard._oauth.dpop_nonce import SHORTEST_SECRET
from tokenguard._oauth.request_target import Target, spelled, target
from tokenguard._oauth.resource_metadata import FILLED, check_resource, location
from tokenguard._oauth.scope import scope_names
from tokenguard._settings import (
    TAKEN_FIELDS,
    Peers,
    fetched_url,
    is_field_name,
    is_lazy,
    number,
    strings,
    switch,
    whole,
)
from tokenguard.errors import ConfigurationError
from tokenguard.token import frozen

__all__ = ["DPoP", "MutualTLS", "ProofStore", "ResourceMetadata"]

Secret: TypeAlias = bytes | str
Secrets: TypeAlias = Secret | Iterable[Secret]

_BASE_URL: Final = 'base_url must be the URL that clients call this API by, such as "https://api.example.com"'


@runtime_checkable
class ProofStore(Protocol):
    """Where processes share which proofs were used; `tokenguard.redis.RedisStore` is one.

    True means that `key` was not used in its last `seconds`, and is now; of any number of calls at once one gets it.
    Whatever else comes is a replay; whatever a store raises becomes `UnavailableError`.
    """

    def use_proof(self, key: bytes, seconds: float) -> bool:
        """Use `key`, a digest, and keep that for `seconds`."""
        ...

    async def use_proof_async(self, key: bytes, seconds: float) -> bool:
        """`use_proof` for event loops."""
        ...


@frozen
@dataclass(frozen=True, slots=True, eq=False)
class DPoP:
    """Tokens that are bound to a key of the client (RFC 9449): give it to `TokenValidator(..., dpop=...)`.

    - `base_url`: the URL that clients call this API by, with the path that a proxy takes off, or several of them. No
      field of a request decides it
    - `required`: rejects tokens that are not bound to a key; otherwise both kinds pass, each by its own rules
    - `algorithms`: which ones may sign a proof, all asymmetric ones that are supported if not given
    - `max_age`: seconds for which a proof is good, besides the validator's leeway; not asked with nonces
    - `max_proof_bytes`: a longer proof is rejected before it is read
    - `nonce_secret`: turns nonces on (section 9): at least 32 octets, the same in every process, or a list whose first
      one makes nonces and all of which accept them, or a plain function that returns either, called at each use
    - `nonce_max_age`: seconds for which a nonce is good
    - `replay`: where processes share which proofs were used, a `tokenguard.redis.RedisStore`; by default each process
      remembers its own
    - `max_proofs`: how many it remembers, about 130 bytes each; more than that at once are answered 503

    Raises `ConfigurationError` with what to write instead.
    """

    base_url: str | Iterable[str]
    required: bool = field(default=False, kw_only=True)
    algorithms: str | Iterable[str] = field(default=DEFAULT, kw_only=True)
    max_age: float = field(default=60, kw_only=True)
    max_proof_bytes: int = field(default=8_192, kw_only=True)
    nonce_secret: Secrets | Callable[[], Secrets] | None = field(default=None, kw_only=True, repr=False)
    nonce_max_age: float = field(default=300, kw_only=True)
    replay: ProofStore | None = field(default=None, kw_only=True, repr=False)
    max_proofs: int = field(default=1_000_000, kw_only=True)
    allowed: frozenset[str] = field(init=False, repr=False)
    bases: tuple[Target, ...] = field(init=False, repr=False)
    spelled_bases: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        urls = strings("base_url", self.base_url, example='DPoP("https://api.example.com")')
        object.__setattr__(self, "base_url", urls[0] if isinstance(self.base_url, str) else urls)
        object.__setattr__(self, "bases", tuple([_base(url) for url in urls]))
        object.__setattr__(self, "spelled_bases", tuple(map(spelled, self.bases)))
        switch("required", self.required)
        algorithms = allow_list(self.algorithms)
        if not SYMMETRIC.isdisjoint(algorithms):
            raise ConfigurationError("algorithms of DPoP must be asymmetric: a proof is signed by the client's own key")
        object.__setattr__(self, "algorithms", algorithms)
        object.__setattr__(self, "allowed", frozenset(algorithms))
        number("max_age", self.max_age, above=True)
        number("nonce_max_age", self.nonce_max_age, minimum=1)
        whole("max_proof_bytes", self.max_proof_bytes, minimum=1)
        whole("max_proofs", self.max_proofs, minimum=1)
        if callable(self.nonce_secret):
            if is_lazy(self.nonce_secret):
                raise ConfigurationError("nonce_secret must be a plain function: a coroutine would never run")
        elif self.nonce_secret is not None:
            object.__setattr__(self, "nonce_secret", nonce_secrets(self.nonce_secret))
        if not (self.replay is None or isinstance(self.replay, ProofStore)) or isinstance(self.replay, type):
            raise ConfigurationError(
                "replay must be a tokenguard.redis.RedisStore, or have the methods use_proof and use_proof_async"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """`algorithms` as clients know them: EdDSA has two names (RFC 9864)."""
        return tuple(name for one in self.algorithms for name in ((one, "Ed25519") if one == "EdDSA" else (one,)))


def nonce_secrets(given: Any) -> tuple[bytes, ...]:
    """The secrets, the first of which makes nonces. Raises `ConfigurationError`."""
    several = [given] if isinstance(given, bytes | str) else list(given) if isinstance(given, list | tuple) else []
    try:
        found = tuple([one.encode() if isinstance(one, str) else one for one in several])
    except UnicodeEncodeError:  # a lone surrogate
        found = ()
    if not found or any(not isinstance(one, bytes) or len(one) < SHORTEST_SECRET for one in found):
        raise ConfigurationError(
            f"nonce_secret must be at least {SHORTEST_SECRET} octets, or a list of such: write the output of"
            " `openssl rand -hex 32`"
        )
    return found


def _base(url: str) -> Target:
    try:
        fetched_url("base_url", url)
    except ConfigurationError as error:
        raise ConfigurationError(_BASE_URL if "must be an https URL" in str(error) else str(error)) from None
    found = target(url)
    if found is None or "?" in url:
        raise ConfigurationError(f"{_BASE_URL}; it has no query")
    return found


@frozen
@dataclass(frozen=True, slots=True, eq=False)
class MutualTLS:
    """Tokens that are bound to a certificate of the client (RFC 8705): give it to `TokenValidator(..., mtls=...)`.

    Without further settings the certificate is that of the connection, as the server reports it. Behind a proxy that
    ends TLS all three of these are needed:

    - `header`: the field in which the proxy sends the certificate
    - `format`: how it is written: `"rfc9440"`, `"pem"`, `"der"`, `"traefik"` or `"xfcc"`
    - `trusted`: the proxies: addresses, networks, `"unix"` for peers without an address. From these the field alone
      counts, from any other peer the certificate of its own connection alone

    And, in any case:

    - `required`: True rejects tokens that are not bound to a certificate

    The peer is what the server reports: run it so that it leaves the peer alone (uvicorn: `--no-proxy-headers`), or a
    client names its own address.

    Raises `ConfigurationError` with what to write instead.
    """

    header: str | None = None
    format: Literal["rfc9440", "pem", "der", "traefik", "xfcc"] | None = None
    trusted: str | Iterable[str] = ()
    required: bool = field(default=False, kw_only=True)
    _peers: Peers = field(init=False, repr=False)

    def __post_init__(self) -> None:
        switch("required", self.required)
        given: Any = self.trusted
        is_empty = isinstance(given, list | tuple | set | frozenset) and not given
        trusted = () if is_empty else strings("trusted", given, example='trusted=["10.0.0.0/8"]')
        if len({self.header is None, self.format is None, not trusted}) > 1:
            raise ConfigurationError(
                "header, format and trusted go together: which field, how it is written, and who may send it"
            )
        if self.header is not None:
            if not is_field_name(self.header):
                raise ConfigurationError('header must be the name of one field, such as "X-Client-Cert"')
            if self.header.lower() in TAKEN_FIELDS:
                raise ConfigurationError("header must not be Authorization, Cookie, DPoP or Host: name the proxy's own")
            if self.format not in FORMATS:
                raise ConfigurationError(f"format must be one of {', '.join(FORMATS)}")
        object.__setattr__(self, "trusted", trusted)
        object.__setattr__(self, "_peers", Peers("trusted", trusted))

    def trusts(self, peer: str | None) -> bool:
        """Whether the field of this peer counts. `peer`: its address, None where it has none."""
        return self._peers.trusts(peer)


@frozen
@dataclass(frozen=True, slots=True, eq=False)
class ResourceMetadata:
    """What an API publishes of itself (RFC 9728), so that a client without a token finds out where to get one, and
    with which scopes. Give it wherever `resource_metadata=` takes a URL; the adapters serve it without a token, and
    name it in every 401 and 403.

    - `resource`: the identifier of this API, the URL that clients call it by: https, or http on a loopback host
    - `authorization_servers`: their issuers. Default: the listed issuers of the validator whose keys are discovered
    - `scopes_supported`: default: those that the adapter and its framework's routes ask for
    - `resource_name`, `resource_documentation`: a name for people, and a URL for developers
    - `more`: further members, JSON

    What it contains about DPoP and client certificates comes from the validator, nothing from a request. Raises
    `ConfigurationError`.
    """

    resource: str
    authorization_servers: str | Iterable[str] | None = field(default=None, kw_only=True)
    scopes_supported: str | Iterable[str] | None = field(default=None, kw_only=True)
    resource_name: str | None = field(default=None, kw_only=True)
    resource_documentation: str | None = field(default=None, kw_only=True)
    more: Mapping[str, Any] = field(default_factory=dict[str, Any], kw_only=True)

    def __post_init__(self) -> None:
        check_resource(self.resource)
        if self.authorization_servers is not None:
            example = 'authorization_servers="https://auth.example.com/"'
            servers = strings("authorization_servers", self.authorization_servers, example=example)
            for server in servers:
                fetched_url("authorization_servers", server)
            object.__setattr__(self, "authorization_servers", servers)
        if self.scopes_supported is not None:
            object.__setattr__(self, "scopes_supported", scope_names(self.scopes_supported))
        name: object = self.resource_name
        if not (name is None or (isinstance(name, str) and name)):
            raise ConfigurationError("resource_name must be a non-empty string")
        if self.resource_documentation is not None:
            fetched_url("resource_documentation", self.resource_documentation)
        try:
            if not isinstance(self.more, Mapping):
                raise TypeError
            json.dumps(dict(self.more), allow_nan=False)
        except (TypeError, ValueError):
            raise ConfigurationError("more must be a mapping of further members that JSON can hold") from None
        if not FILLED.isdisjoint(self.more):
            raise ConfigurationError(f"more must not hold {min(FILLED & self.more.keys())}: there is a setting for it")

    @property
    def url(self) -> str:
        """Where clients find it (RFC 9728 section 3.1)."""
        return location(self.resource)

    @property
    def path(self) -> str:
        """The path of `url`, the only one at which it is served."""
        return urlsplit(self.url).path

    def document(self, validator: Any, scopes: str | Iterable[str] = ()) -> dict[str, Any]:
        """The metadata, for places that no adapter serves. `scopes`: what clients may ask for, where
        `scopes_supported` does not say so; space-delimited or iterable."""
        servers = self.authorization_servers
        if servers is None:
            servers = [one.url for one in validator.issuers if one.static_keys is None and one.jwks_uri is None]
        supported = sorted(scope_names(scopes)) if self.scopes_supported is None else self.scopes_supported
        members: dict[str, Any] = {
            "resource": self.resource,
            "authorization_servers": list(servers),
            "bearer_methods_supported": ["header"],
            "scopes_supported": list(supported),
            "resource_name": self.resource_name,
            "resource_documentation": self.resource_documentation,
        }
        dpop, mtls = getattr(validator, "dpop", None), getattr(validator, "mtls", None)
        if dpop is not None:
            members["dpop_signing_alg_values_supported"] = list(dpop.names)
            members["dpop_bound_access_tokens_required"] = dpop.required
        if mtls is not None:
            members["tls_client_certificate_bound_access_tokens"] = True
        members |= self.more
        return {name: value for name, value in members.items() if value is not None and value != []}  # section 3.2
