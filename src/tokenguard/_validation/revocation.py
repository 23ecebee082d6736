"""Revocation of a token that is otherwise good: the denylist, then the issuer's introspection endpoint.

Owns: their order, and the claim checks of an introspection answer. Must not know: how either works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tokenguard._flow.effects import Flow
from tokenguard._issuer.trusted_issuer import Authority
from tokenguard._oauth import party
from tokenguard._oauth.claims import CHECKS, Expected
from tokenguard._oauth.confirmation import KEY, repeats
from tokenguard._oauth.introspection_messages import check_active, is_dpop
from tokenguard.errors import InvalidTokenError, Reason
from tokenguard.revocations import RevocationList


class Watching(Protocol):
    """What observes one validation."""

    def introspected(self) -> None:
        """Introspection is consulted now: a remembered answer, or a call."""
        ...


class Revocation:
    """Whether a token that is good otherwise was revoked. `denylist` is None where there is none."""

    __slots__ = ("_leeway", "denylist")

    def __init__(self, denylist: RevocationList | None, leeway: float) -> None:
        self.denylist = denylist
        self._leeway = leeway

    def check(
        self,
        authority: Authority,
        claims: Mapping[str, Any],
        token: bytes,
        digest: bytes,
        now: float,
        run: Watching | None,
    ) -> Flow[None]:
        """A JWT that held: on no list, and active where its issuer is asked about every token.

        Raises `revoked`, the reasons of `check_answer`, or `IntrospectionUnavailableError`.
        """
        yield from self.check_denied(authority, claims, now)
        if authority.introspects_all and authority.introspector is not None:
            if run is not None:
                run.introspected()
            answer = yield from authority.introspector.ask(token, digest, now)
            check_active(answer, authority.expected.enforced)
            cnf = claims.get("cnf")
            check_answer(answer, authority.url, authority.expected_of_second_answer, now, cnf)
            if not repeats(answer.get("cnf"), cnf):
                raise InvalidTokenError(reason=Reason.CONFIRMATION)

    def check_denied(self, authority: Authority, claims: Mapping[str, Any], now: float) -> Flow[None]:
        """The token is on no list. Raises `revoked`, or `IntrospectionUnavailableError` where a store fails."""
        if self.denylist is not None:
            revoked = yield from self.denylist.check(
                authority.url,
                claims.get("jti"),
                party.client_id(claims, authority.client_id_claims),
                claims.get("sub"),
                claims.get("iat"),
                now,
                self._leeway,
            )
            if revoked is not False:
                raise InvalidTokenError(reason=Reason.REVOKED)


def check_answer(
    answer: Mapping[str, Any], issuer: str, expected: Expected, now: float, cnf: Mapping[str, Any] | None = None
) -> None:
    """The claim checks of a JWT for an introspection answer (RFC 7662 section 2.2). `cnf`: the JWT's own."""
    if "iss" in answer and answer["iss"] != issuer:
        raise InvalidTokenError(reason=Reason.ISSUER)
    for _, check in CHECKS:
        check(answer, expected, now)
    if is_dpop(answer) and KEY not in (answer.get("cnf") or cnf or ()):
        raise InvalidTokenError(reason=Reason.CONFIRMATION)
