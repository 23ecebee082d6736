"""What a request said: `credential` finds its token, `ResourceRequest` holds the rest of what may matter.

Owns: their shapes, and that nothing secret of a request is shown. Must not know: protocols
(the readers in `_adapters` do), what any of it means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from tokenguard._oauth import credential as credentials
from tokenguard.errors import ConfigurationError
from tokenguard.token import frozen

__all__ = ["ResourceRequest", "credential"]


def credential(authorization: Iterable[str], query: str = "") -> str:
    """The token that a request carries, for an adapter of your own (RFC 6750 section 2).

    `authorization`: the value of every `Authorization` field, decoded as Latin-1; a server that gives the first alone
    hides a second one. `query`: the raw query string of the URL.

    Raises `MissingTokenError` where there is none, `InvalidRequestError` where there are several, one of them in the
    query, or where it is malformed; `ConfigurationError` for a text in place of a list.
    """
    if isinstance(authorization, str | bytes):
        raise ConfigurationError("authorization must be a list: the value of every Authorization field")
    return credentials.credential([*authorization], query)


@frozen
@dataclass(frozen=True, slots=True, repr=False)
class ResourceRequest:
    """What a request to a protected resource said (RFC 6750, RFC 9449, RFC 8705), as far as it may matter.

    - `method`: of HTTP, as sent; a websocket's is `GET`
    - `url`: absolute, or a path, percent-encoded
    - `scheme`: of the `Authorization` field, in any case
    - `proof`: the value of the `DPoP` field, a sequence where there were several
    - `certificate`: the client's on its connection, DER
    - `headers`: pairs of name and value, a name several times where its field was; a mapping is taken too

    Its `repr` holds the method and the path alone. Raises `ConfigurationError` for other types.
    """

    method: str
    url: str
    scheme: str = "Bearer"
    proof: str | Sequence[str] | None = None
    certificate: bytes | None = None
    headers: Iterable[tuple[str, str]] | Mapping[str, str] = ()
    _digest: bytes | None = field(default=None, init=False)
    # What a validation leaves here is no part of what was sent: a request stays equal to itself, and its hash the same.
    _nonce: str | None = field(default=None, init=False, compare=False)
    _is_observed: bool = field(default=False, init=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("method", "url", "scheme"):
            if not isinstance(getattr(self, name), str):
                raise ConfigurationError(f"{name} of a ResourceRequest must be a string")
        proof: Any = self.proof
        if not (proof is None or isinstance(proof, str)):
            proof = _strings(proof)
            if proof is None:
                raise ConfigurationError("proof must be the value of the DPoP field, or a list where there are several")
            object.__setattr__(self, "proof", proof)
        if not (self.certificate is None or isinstance(self.certificate, bytes)):
            raise ConfigurationError("certificate must be bytes: DER, not PEM")
        object.__setattr__(self, "headers", _pairs(self.headers))

    def __repr__(self) -> str:
        return f"ResourceRequest(method={self.method!r}, url={self.url.partition('?')[0].partition('#')[0]!r})"


def with_digest(request: ResourceRequest, digest: bytes) -> ResourceRequest:
    """`request` with the SHA-256 of its certificate, which may be all that a proxy sends of it."""
    object.__setattr__(request, "_digest", digest)
    return request


def certificate_digest(request: ResourceRequest) -> bytes | None:
    """The SHA-256 of the certificate, None where there is none."""
    if request._digest is not None:  # noqa: SLF001
        return request._digest  # noqa: SLF001
    return sha256(request.certificate).digest() if request.certificate else None


def observed(request: ResourceRequest) -> ResourceRequest:
    """`request`, of which a verdict changes nothing: neither replay nor nonce of its proof is checked."""
    object.__setattr__(request, "_is_observed", True)
    return request


def is_observed(request: ResourceRequest) -> bool:
    """Whether `request` went through `observed`."""
    return request._is_observed  # noqa: SLF001


def keep_nonce(request: ResourceRequest, nonce: str) -> None:
    """Let the answer to `request` carry a nonce for the client's next proof (RFC 9449 section 8.2)."""
    object.__setattr__(request, "_nonce", nonce)


def next_nonce(request: ResourceRequest) -> str | None:
    """What `keep_nonce` was given."""
    return request._nonce  # noqa: SLF001


def _strings(value: Any) -> tuple[str, ...] | None:
    found = tuple(value) if isinstance(value, list | tuple) else None
    return found if found is not None and all(isinstance(one, str) for one in found) else None


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    given = value.items() if isinstance(value, Mapping) else value
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        pairs = [_strings(pair) for pair in given]
        if all(pair is not None and len(pair) == 2 for pair in pairs):
            return tuple(pairs)  # type: ignore[arg-type]
    raise ConfigurationError('headers must be a mapping, or pairs of name and value: [("X-Tenant", "acme")]')
