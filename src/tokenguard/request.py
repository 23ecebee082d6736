"""`ResourceRequest`: what a request said, for whatever is not decided by its token alone.

Owns: its shape, and that nothing secret of it is shown. Must not know: protocols (`_adapters.request` reads them), what
any of it means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenguard.errors import ConfigurationError

__all__ = ["ResourceRequest"]


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
