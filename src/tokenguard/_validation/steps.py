"""One token, from its bytes to a verdict: the order of the checks (contract section 2), written once.

Owns: the order, what is remembered, what is judged again for a remembered token. Must not know: sockets, loops, HTTP.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from tokenguard._flow.effects import Flow
from tokenguard._issuer.introspector import Introspector
from tokenguard._issuer.trusted_issuer import Authority
from tokenguard._jose import jws
from tokenguard._jose.jwk import Key, KeySet
from tokenguard._oauth import claims as rules
from tokenguard._oauth import party
from tokenguard._oauth.introspection_messages import judge_active
from tokenguard._oauth.scope import RequiredScope
from tokenguard._observe.evidence import clear, insufficient, tell, tell_token
from tokenguard._validation.find_key import find_key
from tokenguard._validation.memory import Memory
from tokenguard._validation.revocation import Revocation, Watching
from tokenguard._validation.verdict import Grounds, Verdict, access_token
from tokenguard.errors import (
    ConfigurationError,
    InvalidTokenError,
    Reason,
    RejectedError,
    TokenGuardError,
)
from tokenguard.revocations import RevocationList
from tokenguard.token import AccessToken, freeze

Check = Callable[[Mapping[str, Any], float], None]

_LONGEST_HEADER: Final = 1_024
_REMEMBERED_HEADERS: Final = 1_024
_REMEMBERED_GROUNDS: Final = 16_384  # of a header and an issuer


class _Case:
    """A token on the slow way: what does not change from step to step."""

    __slots__ = ("digest", "now", "raw", "required", "watch")

    def __init__(self, raw: bytes, digest: bytes, now: float, required: RequiredScope, watch: Watching | None) -> None:
        self.raw = raw
        self.digest = digest
        self.now = now
        self.required = required
        self.watch = watch


class Validation:
    """Judges tokens for a fixed set of authorities."""

    def __init__(
        self,
        authorities: Mapping[str, Authority],
        *,
        leeway: float,
        checks: tuple[Check, ...],
        memory: Memory[Verdict],
        revocations: RevocationList | None,
    ) -> None:
        self._authorities = dict(authorities)
        self._algorithms = frozenset[str]().union(*(authority.algorithms for authority in authorities.values()))
        self._leeway = leeway
        self._checks = checks
        self._memory = memory
        self._revocation = Revocation(revocations, leeway)
        self._denies = revocations is not None
        self._grounds: dict[tuple[jws.Header, str], Grounds] = {}
        self._headers: dict[bytes, jws.Header] = {}
        introspecting = [(one, one.introspector) for one in authorities.values() if one.introspector is not None]
        opaque = [pair for pair in introspecting if not pair[0].introspects_all] or introspecting
        # Two that introspect, neither for opaque tokens first: nobody can tell whose an opaque token is.
        self._opaque = opaque[0] if len(opaque) == 1 else None

    def judge(
        self,
        raw: bytes,
        digest: bytes,
        verdict: Verdict | None,
        now: float,
        mono: float,
        required: RequiredScope,
        watch: Watching | None = None,
    ) -> AccessToken | Flow[AccessToken]:
        """The token at once where nothing has to be waited for, else the flow that goes on from there.

        `digest` is the SHA-256 of `raw`, `verdict` what is remembered under it. Raises a `TokenGuardError`, or the flow
        does.
        """
        if verdict is not None:
            return self._judge_again(_Case(raw, digest, now, required, watch), verdict, mono)
        try:
            unverified = jws.parse(raw, self._algorithms, self._headers)
        except InvalidTokenError as error:
            if self._opaque is None or error.reason is not Reason.MALFORMED or not jws.is_opaque(raw):
                raise
            return self._judge_opaque(_Case(raw, digest, now, required, watch), *self._opaque)

        issuer = unverified.claims.get("iss")
        if not isinstance(issuer, str):
            raise InvalidTokenError(reason=Reason.ISSUER)
        header = unverified.header
        # Another token with this header held: its algorithm and type are right for this issuer.
        grounds = self._grounds.get((header, issuer))
        authority = self._accepting(header, issuer) if grounds is None else grounds.authority
        source = authority.keys
        keys = source.keys
        key = None
        if keys is not None and mono < source.quiet_until:
            key = keys.certain(header.kid, header.alg)
            if key is not None and key.verifies(header.alg, unverified.signing_input, unverified.signature):
                if self._denies or authority.introspects_all:
                    return self._conclude(_Case(raw, digest, now, required, watch), unverified, authority, key, keys)
                audience = self._check(unverified.claims, authority, now)
                if grounds is None or grounds.key is not key or grounds.keys is not keys:
                    grounds = self._stand(unverified, authority, key, keys)
                return self._accept(unverified, audience, grounds, digest, required)
        return self._find_key(_Case(raw, digest, now, required, watch), unverified, authority, key)

    def _accepting(self, header: jws.Header, issuer: str) -> Authority:
        """The configured issuer, which takes tokens with such a header."""
        authority = self._authorities.get(issuer)
        if authority is None:
            raise InvalidTokenError(reason=Reason.ISSUER)
        if header.alg not in authority.algorithms:
            raise _refused(authority, Reason.ALGORITHM)
        if authority.types is not None and header.typ not in authority.types:
            raise _refused(authority, Reason.TYPE)
        return authority

    def key_of_each_algorithm(self) -> dict[str, Key]:
        """One of the keys at hand for each algorithm that tokens may have."""
        found: dict[str, Key] = {}
        for authority in self._authorities.values():
            for key in () if authority.keys.keys is None else authority.keys.keys.keys:
                for alg in key.algorithms & authority.algorithms:
                    found.setdefault(alg, key)
        return found

    # -- JWTs ----------------------------------------------------------------------------------------------------------

    def _find_key(
        self, case: _Case, unverified: jws.Unverified, authority: Authority, failed: Key | None
    ) -> Flow[AccessToken]:
        """The keys want attention, or no single one fits, or the one that does not verify."""
        try:
            key, keys = yield from find_key(unverified, authority.keys, failed)
        except TokenGuardError as error:
            tell(error, authority.url)
            raise
        return (yield from self._conclude(case, unverified, authority, key, keys))

    def _conclude(
        self, case: _Case, unverified: jws.Unverified, authority: Authority, key: Key, keys: KeySet
    ) -> Flow[AccessToken]:
        audience = self._check(unverified.claims, authority, case.now)
        yield from self._check_revoked(case, authority, unverified.claims)
        grounds = self._stand(unverified, authority, key, keys)
        return self._accept(unverified, audience, grounds, case.digest, case.required)

    def _check(self, claims: dict[str, Any], authority: Authority, now: float) -> tuple[str, ...]:
        """Steps 5 to 7 but for revocation, for a token whose signature held. Its audience."""
        try:
            audience = rules.plain(claims, authority.audiences, now, self._leeway) if authority.is_plain else None
            if audience is None or authority.requires_more:
                rules.require(claims, authority.required_claims)
            if audience is None:
                audience = rules.check(claims, authority.audiences, now, self._leeway, authority.audience_claims)
            if authority.narrows:
                authority.check_party(claims)
            if self._checks:
                self._run_checks(freeze(claims), now)
        except TokenGuardError as error:
            _tell(error, authority, claims)
            raise
        return audience

    def _stand(self, unverified: jws.Unverified, authority: Authority, key: Key, keys: KeySet) -> Grounds:
        """What the verdict on a token stands on, and those on others with its header."""
        known = unverified.header, authority.url
        grounds = self._grounds.get(known)
        if grounds is None or grounds.key is not key:
            plain = not self._checks and not self._denies and not authority.introspects_all
            grounds = Grounds(authority, key, keys, plain=plain)
            # Only here, where a signature held: the issuer wrote that header, and strangers cannot fill this.
            if len(unverified.header_text) <= _LONGEST_HEADER:
                if len(self._headers) >= _REMEMBERED_HEADERS or len(self._grounds) >= _REMEMBERED_GROUNDS:
                    self._headers, self._grounds = {}, {}
                self._headers[unverified.header_text] = unverified.header
                self._grounds[known] = grounds
        grounds.keys = keys
        return grounds

    def _accept(
        self,
        unverified: jws.Unverified,
        audience: tuple[str, ...],
        grounds: Grounds,
        digest: bytes,
        required: RequiredScope,
    ) -> AccessToken:
        """Remember a token that passed every check but that of its scope, which is open."""
        token = access_token(grounds.authority, unverified.claims, audience, unverified.payload)
        ends: Any = token.expires_at  # a JWT has one
        self._memory.put(digest, (token, rules.start(token.not_before, token.issued_at), ends, grounds))
        return _with_scope(token, required)

    def _judge_again(self, case: _Case, verdict: Verdict, mono: float) -> Flow[AccessToken]:
        """What a remembered verdict does not stand for: its key, times, extra checks, revocation, scope."""
        token, _, _, grounds = verdict
        authority, source = grounds.authority, grounds.source
        keys = source.keys
        if keys is None or mono >= source.quiet_until:
            try:
                keys = yield from source.attend()
            except TokenGuardError as error:
                tell(error, authority.url)
                raise
        if grounds.keys is not keys:
            if grounds.key not in keys.keys:  # withdrawn: judge the token as if it had never been seen
                self._memory.forget(case.digest)
                judged = self.judge(case.raw, case.digest, None, case.now, mono, case.required, case.watch)
                return judged if isinstance(judged, AccessToken) else (yield from judged)
            grounds.keys = keys
        try:
            rules.check_times(token.claims, case.now, self._leeway)
            self._run_checks(token.claims, case.now)
        except TokenGuardError as error:
            tell_token(error, token)
            raise
        yield from self._check_revoked(case, authority, token.claims)
        return _with_scope(token, case.required)

    def _run_checks(self, claims: Mapping[str, Any], now: float) -> None:
        for check in self._checks:
            try:
                result: object = check(claims, now)
            except RejectedError as error:
                clear(error)  # one object may be raised for many tokens
                raise error from None
            except Exception as error:
                raise ConfigurationError("an extra check raised an unexpected exception: see the cause") from error
            if result is not None and result is not True:  # a check that says yes at least means what happens
                if inspect.iscoroutine(result):
                    result.close()  # it is never awaited, and need not say so
                raise ConfigurationError(
                    "an extra check must be a plain function that returns None and raises InvalidTokenError to refuse:"
                    " False, a coroutine or an exception that it returns would be lost"
                )

    # -- revocation ----------------------------------------------------------------------------------------------------

    def _check_revoked(self, case: _Case, authority: Authority, claims: Mapping[str, Any]) -> Flow[None]:
        try:
            yield from self._revocation.check(authority, claims, case.raw, case.digest, case.now, case.watch)
        except TokenGuardError as error:
            _tell(error, authority, claims)
            raise

    def _judge_opaque(self, case: _Case, authority: Authority, introspector: Introspector) -> Flow[AccessToken]:
        now = case.now
        if case.watch is not None:
            case.watch.introspected()
        try:
            answer = yield from introspector.ask(case.raw, case.digest, now)
            judge_active(answer)
        except TokenGuardError as error:
            tell(error, authority.url)
            raise
        try:
            audience = self._revocation.check_answer(
                authority, answer, now, require_audience=authority.require_audience
            )
            rules.require(answer, tuple(authority.issuer.required_claims))
            authority.check_party(answer)
            if self._checks:
                self._run_checks(freeze(answer), now)
            yield from self._revocation.check_denied(authority, answer, now)
        except TokenGuardError as error:
            _tell(error, authority, answer)
            raise
        return _with_scope(access_token(authority, answer, audience, None), case.required)


def _with_scope(token: AccessToken, required: RequiredScope) -> AccessToken:
    if required.members <= token.scopes:
        return token
    raise insufficient(token, required)


def _refused(authority: Authority, reason: Reason) -> InvalidTokenError:
    error = InvalidTokenError(reason=reason)
    tell(error, authority.url)
    return error


def _tell(error: TokenGuardError, authority: Authority, claims: Mapping[str, Any]) -> None:
    """Let `error` say whose token it was. Only for claims that hold: of a verified JWT, or an active answer."""
    client_id: object = party.client_id(claims, authority.client_id_claims)
    tell(error, authority.url, verified=True, client=client_id, jti=claims.get("jti"))
