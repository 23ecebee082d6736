"""`Authority`: one configured issuer at run time: its rules made ready, its keys, its introspection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenguard._issuer.discovery import Discovery
from tokenguard._issuer.introspector import Introspector
from tokenguard._issuer.keys import KeySource
from tokenguard._oauth import party
from tokenguard.issuer import Issuer

_RFC9068_CLAIMS = ("exp", "sub", "client_id", "iat", "jti")  # RFC 9068 section 2.2; iss and aud have their own checks


class Authority:
    """What the validation of a token needs of its issuer. Immutable, but for the state inside `keys` and
    `introspector`."""

    __slots__ = (
        "algorithms",
        "audience_claims",
        "audiences",
        "client_id_claims",
        "clients",
        "discovery",
        "introspector",
        "introspects_all",
        "is_plain",
        "issuer",
        "keys",
        "machine_signs",
        "narrows",
        "require_audience",
        "required_claims",
        "requires_more",
        "role_claims",
        "scope_claims",
        "types",
        "url",
        "values",
    )

    def __init__(
        self,
        issuer: Issuer,
        audiences: frozenset[str],
        keys: KeySource,
        discovery: Discovery | None,
        introspector: Introspector | None,
        clients: frozenset[str] | None = None,
    ) -> None:
        strict = issuer.profile == "rfc9068"
        self.issuer = issuer
        self.url = issuer.url
        self.algorithms = frozenset(issuer.allowed)
        self.audiences = audiences
        self.types: frozenset[str | None] | None = issuer.accepted_types
        self.required_claims = (*(_RFC9068_CLAIMS if strict else ("exp",)), *issuer.required_claims)
        self.audience_claims = tuple(issuer.audience_claims)
        self.scope_claims = tuple(issuer.scope_claims)
        self.role_claims = party.role_paths(issuer.role_claims)
        self.client_id_claims = tuple(issuer.client_id_claims)
        self.machine_signs = tuple(issuer.machine_signs)
        self.clients = clients if issuer.clients is None else frozenset(issuer.clients)
        self.values = party.expected_values(issuer.claim_values)
        self.narrows = bool(self.values) or self.clients is not None or self.client_id_claims != ("client_id",)
        self.requires_more = self.required_claims != ("exp",)
        self.is_plain = self.audience_claims == ("aud",)  # so that `claims.plain` may be asked
        self.keys = keys
        self.discovery = discovery
        self.introspector = introspector
        settings = issuer.introspection
        self.introspects_all = settings is not None and settings.when == "always"
        self.require_audience = settings is None or settings.require_audience

    def check_party(self, claims: Mapping[str, Any]) -> None:
        """Step 5 as far as only this issuer's settings ask for it; needless unless `narrows`.

        Raises `invalid_claim`, `missing_claim`, `client`.
        """
        party.check_strings(claims, self.client_id_claims)
        party.check_values(claims, self.values)
        party.check_client(party.client_id(claims, self.client_id_claims), self.clients)
