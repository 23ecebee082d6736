"""What a route asks of a token that is good, prepared once.

Owns: the comparison of scopes, the only one. Must not know: what makes a token good, HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from tokenguard._oauth.scope import scope_names
from tokenguard._observe.evidence import insufficient
from tokenguard.token import AccessToken

__all__: list[str] = []


class Requirement:
    """The scopes that a route asks for, all of them. `scopes` keeps the caller's order.

    `usual_scopes` is the short form of `check`: a token that has all of them passes. It stands for no call on the path
    of a remembered token.
    """

    __slots__ = ("scopes", "usual_scopes")

    def __init__(self, scopes: tuple[str, ...]) -> None:
        self.scopes = scopes
        self.usual_scopes = frozenset(scopes)

    def check(self, token: AccessToken, _request: object, _now: float) -> None:
        """Raises `InsufficientScopeError`."""
        if not self.usual_scopes <= token.scopes:
            raise insufficient(token, self.scopes)

    def __repr__(self) -> str:
        return f"Requirement({' '.join(self.scopes)!r})"


def required(scope: str | Iterable[str] | Requirement) -> Requirement:
    """A requirement of these scopes: a space-delimited string, or an iterable of such. Every name is required.

    Raises `ConfigurationError` as `scope_names` does.
    """
    if isinstance(scope, str):
        return _of_text(scope)
    return scope if isinstance(scope, Requirement) else Requirement(scope_names(scope))


# Scopes are written in code, so there are few; the bound is for code that makes them up.
@lru_cache(maxsize=1_024)
def _of_text(scope: str) -> Requirement:
    return Requirement(scope_names(scope))


NOTHING = Requirement(())
