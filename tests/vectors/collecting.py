"""What a vector is, and the settings that it is validated with.

A vector names the line of the threat list that it belongs to (`threat`), its mechanism and its source. `status`,
`error` and `reason` are what every HTTP door answers; `verdict` is the reason that `validate` gives (null: accepted,
`unavailable`: it could not tell), where a token can be given to it. Where a token cannot stand in a header at all, the
HTTP doors refuse the credential before the token is looked at; where no HTTP server could deliver it, `status` is null.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from vectors.minting import AUDIENCE, ISSUER, NOW, jwk

TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)
SCOPE = "orders:read"
_STATUS = {"scope": (403, "insufficient_scope"), "missing": (401, None), "multiple": (400, "invalid_request")}

ALL = ["rsa", "p256", "p384", "p521", "ed"]
KEYS = [jwk(name) for name in ALL] + [jwk("rsa.only", alg="RS256", use="sig")]


class Book:
    """All vectors of one file, in order; ids are unique over all files."""

    ids: ClassVar[set[str]] = set()

    def __init__(self, name: str) -> None:
        self.name = name
        self.settings: dict[str, Any] = {}
        self.vectors: list[dict[str, Any]] = []

    def setting(
        self,
        name: str,
        *,
        keys: list[Any] | None = None,
        served: str | None = None,
        leeway: float = 30,
        scope: str = SCOPE,
        audience: Any = AUDIENCE,
        limit: int = 16_384,
        now: float = NOW,
        issuers: list[dict[str, Any]] | None = None,
        **issuer: Any,
    ) -> str:
        """A validator: one issuer with static `keys`, or with a key set that is served as the text `served`."""
        one: dict[str, Any] = {"url": ISSUER, **issuer}
        if served is not None:
            one["served"] = served
        else:
            one["jwks"] = {"keys": KEYS if keys is None else keys}
        self.settings[name] = {
            "issuers": issuers or [one],
            "audience": audience,
            "leeway": leeway,
            "max_token_bytes": limit,
            "scope": scope,
            "now": now,
        }
        return name

    def add(
        self,
        name: str,
        threat: int | str,
        mechanism: str,
        source: str,
        reason: str | None,
        token: str | None = None,
        *,
        settings: str = "default",
        authorization: Sequence[str] | None = None,
        query: str = "",
        fields: Sequence[Sequence[str]] = (),
    ) -> None:
        """`reason` None: accepted."""
        assert name not in self.ids, name
        self.ids.add(name)
        if settings == "default" and "default" not in self.settings:
            self.setting("default")
        vector: dict[str, Any] = {
            "id": name,
            "threat": threat,
            "mechanism": mechanism,
            "source": source,
            "settings": settings,
        }
        if token is None:
            vector["authorization"] = list(authorization or ())
            if query:
                vector["query"] = query
            if fields:
                vector["fields"] = [list(field) for field in fields]
            self._answer(vector, reason, in_request=True)
        else:
            vector["token"] = token
            vector["verdict"] = reason
            if token.strip(" \t") != token:  # no part of a field's value (RFC 9110 section 5.5)
                vector.update(status=None, error=None, reason=None)
            elif TOKEN68.fullmatch(token):
                self._answer(vector, reason)
            elif token.isascii() or all(ord(c) < 256 for c in token):
                vector.update(status=400, error="invalid_request", reason="malformed")
            else:
                vector.update(status=None, error=None, reason=None)
        self.vectors.append(vector)

    @staticmethod
    def _answer(vector: dict[str, Any], reason: str | None, *, in_request: bool = False) -> None:
        if reason is None:
            vector.update(status=200, error=None, reason=None)
        elif reason == "unavailable":
            vector.update(status=503, error=None, reason=None)
        elif in_request and reason == "malformed":
            vector.update(status=400, error="invalid_request", reason=reason)
        else:
            status, error = _STATUS.get(reason, (401, "invalid_token"))
            vector.update(status=status, error=error, reason=reason)
