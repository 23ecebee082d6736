"""The verdicts on tokens that came with a proof, kept with their request.

One proof is used once for one request, whatever validates it by one validator. A copy of the request that is for
something else is validated again.

Owns: what is kept, and for which request it stands. Must not know: what makes a proof good, answers.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeVar

from tokenguard._adapters.request import Reader
from tokenguard._oauth.credential import DPOP
from tokenguard.request import ResourceRequest, next_nonce
from tokenguard.token import AccessToken

R = TypeVar("R")

_PROVED: Final = "tokenguard.proved"


class Proved(NamedTuple):
    """A good token that was sent with a proof: which validator found it, and in which request."""

    validator: object
    raw: str
    proof: tuple[str, ...]
    method: str
    path: str
    token: AccessToken
    nonce: str | None

    def __repr__(self) -> str:  # it is kept with the request, which applications and debuggers log
        return "Proved()"


def proved(reader: Reader[R], request: R, validator: object, raw: str) -> Proved | None:
    """What this validator found for this very request."""
    for one in _kept(reader, request):
        if (
            one.validator is validator
            and one.raw == raw
            and one.proof == tuple(reader.fields(request, DPOP))
            and one.method == reader.method(request)
            and one.path == reader.path(request)
        ):
            return one
    return None


def keep(
    reader: Reader[R], request: R, validator: object, raw: str, said: ResourceRequest | None, token: AccessToken
) -> None:
    """Keep what a validator found for `raw`, if it came with a proof."""
    if said is None or said.scheme != DPOP:
        return
    proof = tuple(reader.fields(request, DPOP))
    one = Proved(validator, raw, proof, reader.method(request), reader.path(request), token, next_nonce(said))
    found = _kept(reader, request)
    if isinstance(found, list):  # see `own_scope`
        found.append(one)
    else:
        reader.keep(request, _PROVED, (*found, one))


def nonce(reader: Reader[R], request: R, validator: object) -> str | None:
    """What this validator gives the client for its next proof, None for nothing."""
    for one in _kept(reader, request):
        if one.validator is validator:
            return one.nonce
    return None


def own_scope(scope: Any) -> dict[str, Any]:
    """A copy of an ASGI scope, whose verdicts a server does not see. What is found behind it, in copies of this one, is
    seen here too: a decorator on a public path, say, and the nonce that goes out with the answer."""
    return {**scope, _PROVED: [*scope.get(_PROVED, ())]}


def _kept(reader: Reader[R], request: R) -> list[Proved] | tuple[Proved, ...]:
    found: list[Proved] | tuple[Proved, ...] | None = reader.kept(request, _PROVED)
    return () if found is None else found
