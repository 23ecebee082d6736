"""`Authority`: one configured issuer at run time: its rules made ready, its keys, its introspection."""

from __future__ import annotations

from tokenguard._flows.discovery import Discovery
from tokenguard._flows.introspection import Introspector
from tokenguard._flows.keys import KeySource
from tokenguard._rules.jws import RFC9068_TYPES
from tokenguard.issuer import Issuer

_RFC9068_CLAIMS = ("iss", "exp", "aud", "sub", "client_id", "iat", "jti")  # RFC 9068 section 2.2


class Authority:
    """What the validation of a token needs of its issuer. Immutable, but for the state inside `keys` and `introspector`."""

    __slots__ = (
        "algorithms",
        "audiences",
        "discovery",
        "introspector",
        "introspects_all",
        "issuer",
        "keys",
        "require_audience",
        "required_claims",
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
    ) -> None:
        strict = issuer.profile == "rfc9068"
        self.issuer = issuer
        self.url = issuer.url
        self.algorithms = frozenset(issuer.allowed)
        self.audiences = audiences
        self.types = RFC9068_TYPES if strict else None
        self.required_claims = _RFC9068_CLAIMS if strict else ("exp",)
        self.keys = keys
        self.discovery = discovery
        self.introspector = introspector
        settings = issuer.introspection
        self.introspects_all = settings is not None and settings.when == "always"
        self.require_audience = settings is None or settings.require_audience

    def after_fork(self) -> None:
        """Fresh locks and flights: the parent's are nobody's here."""
        for part in (self.keys, self.discovery, self.introspector):
            if part is not None:
                part.after_fork()
