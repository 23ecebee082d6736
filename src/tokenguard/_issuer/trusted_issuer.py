"""`Authority`: one configured issuer at run time: its rules made ready, its keys, its introspection."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from tokenguard._issuer.discovery import Discovery
from tokenguard._issuer.introspector import Introspector
from tokenguard._issuer.keys import KeySource
from tokenguard._oauth import party
from tokenguard._oauth.claims import Expected
from tokenguard.issuer import Issuer

_RFC9068_CLAIMS = ("exp", "sub", "client_id", "iat", "jti")  # RFC 9068 section 2.2; iss and aud have their own checks


class Authority:
    """What the validation of a token needs of its issuer. Immutable, but for `status_claims` and the state inside
    `keys` and `introspector`."""

    is_listed = True  # in the settings; not one that was looked up
    is_proven = True

    __slots__ = (
        "algorithms",
        "client_id_claims",
        "discovery",
        "expected",
        "expected_of_answer",
        "expected_of_second_answer",
        "introspector",
        "introspects_all",
        "issuer",
        "keys",
        "machine_signs",
        "role_claims",
        "scope_claims",
        "status_claims",
        "tenant",
        "types",
        "url",
    )

    def __init__(
        self,
        issuer: Issuer,
        audiences: frozenset[str],
        keys: KeySource,
        discovery: Discovery | None,
        introspector: Introspector | None,
        clients: frozenset[str] | None = None,
        *,
        leeway: float,
        enforced: frozenset[str] = frozenset(),
        bound_by: frozenset[str] = frozenset(),
    ) -> None:
        strict = issuer.profile == "rfc9068"
        self.issuer = issuer
        self.url = issuer.url
        self.tenant = issuer.tenant
        self.algorithms = frozenset(issuer.allowed)
        self.types: frozenset[str | None] | None = issuer.accepted_types
        self.scope_claims = tuple(issuer.scope_claims)
        self.role_claims = party.role_paths(issuer.role_claims)
        self.client_id_claims = tuple(issuer.client_id_claims)
        self.machine_signs = tuple(issuer.machine_signs)
        self.keys = keys
        self.status_claims = count()  # of tokens that were not remembered
        self.discovery = discovery
        self.introspector = introspector
        settings = issuer.introspection
        self.introspects_all = settings is not None and settings.when == "always"
        self.expected = Expected(
            required=(*(_RFC9068_CLAIMS if strict else ("exp",)), *issuer.required_claims),
            audiences=audiences,
            audience_claims=tuple(issuer.audience_claims),
            client_id_claims=self.client_id_claims,
            clients=clients if issuer.clients is None else frozenset(issuer.clients),
            values=party.expected_values(issuer.claim_values),
            leeway=leeway,
            empty_subject=issuer.has_empty_subjects,
            enforced=enforced,
            bound_by=bound_by,
        )
        # Of an introspection answer: it need not have `exp`, and is no RFC 9068 token.
        self.expected_of_answer = replace(
            self.expected,
            required=tuple(issuer.required_claims),
            needs_audience=settings is None or settings.require_audience,
        )
        # Of the answer on a JWT that passed already: what it says must not differ, and it may say little.
        self.expected_of_second_answer = Expected(
            audiences=audiences,
            audience_claims=tuple(issuer.audience_claims),
            required=(),
            needs_audience=False,
            client_id_claims=(),
            leeway=leeway,
            enforced=enforced,
        )
