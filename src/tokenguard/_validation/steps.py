"""One token, from its bytes to a verdict: the order of the checks (contract section 2), written once.

Owns: the order, what is remembered, what is checked again for a remembered token. Must not know: sockets, loops, HTTP.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from tokenguard._flow.effects import Flow
from tokenguard._issuer.directory import Directory, Registered
from tokenguard._issuer.introspector import Introspector
from tokenguard._issuer.log_texts import log_status_unread
from tokenguard._issuer.trusted_issuer import Authority
from tokenguard._jose import jws
from tokenguard._jose.algorithms import NAMES
from tokenguard._jose.jwk import Key
from tokenguard._jose.key_set import KeySet
from tokenguard._oauth import party
from tokenguard._oauth.claims import CHECKS, TIMES, refers_to_status_list, start, usual_claims
from tokenguard._oauth.claims import audience as audience_of
from tokenguard._oauth.introspection_messages import check_active
from tokenguard._observe.evidence import attach_claims, attach_issuer, attach_token, for_one_token
from tokenguard._validation.binding import Binding, Use
from tokenguard._validation.find_key import find_key
from tokenguard._validation.memory import Memory
from tokenguard._validation.revocation import Revocation, Watching, check_answer
from tokenguard._validation.verdict import Basis, Verdict, access_token
from tokenguard.errors import (
    ConfigurationError,
    InvalidRequestError,
    InvalidTokenError,
    MissingTokenError,
    Reason,
    RejectedError,
    TokenGuardError,
)
from tokenguard.request import ResourceRequest
from tokenguard.requirements import Requirement
from tokenguard.revocations import RevocationList
from tokenguard.token import AccessToken, freeze

Check = Callable[[Mapping[str, Any], float], None]
Reading = Callable[[], ResourceRequest]

_LONGEST_HEADER: Final = 1_024
_REMEMBERED_HEADERS: Final = 1_024
_REMEMBERED_BASES: Final = 16_384  # of a header and an issuer


class _Case:
    """A token on the slow way: what does not change from step to step."""

    __slots__ = ("digest", "now", "raw", "reading", "request", "requirement", "run")

    def __init__(
        self,
        raw: bytes,
        digest: bytes,
        now: float,
        requirement: Requirement,
        run: Watching | None,
        request: ResourceRequest | None,
        reading: Reading | None,
    ) -> None:
        self.raw = raw
        self.digest = digest
        self.now = now
        self.requirement = requirement
        self.run = run
        self.request = request
        self.reading = reading


class Validation:
    """Validates tokens of a fixed set of authorities."""

    def __init__(
        self,
        authorities: Mapping[str, Authority],
        *,
        leeway: float,
        checks: tuple[Check, ...],
        memory: Memory[Verdict],
        revocations: RevocationList | None,
        directory: Directory,
        binding: Binding | None = None,
    ) -> None:
        self._authorities = dict(authorities)
        self._directory = directory
        # An issuer that is looked up has its own, read when it comes.
        given = () if directory.is_empty else NAMES
        self._algorithms = frozenset(given).union(*(authority.algorithms for authority in authorities.values()))
        self._leeway = leeway
        self._checks = checks
        self._memory = memory
        self._revocation = Revocation(revocations, leeway)
        self._denies = revocations is not None
        self._binding = binding
        self._bases: dict[tuple[jws.Header, str], Basis] = {}
        self._bases_of_bound: dict[tuple[jws.Header, str], Basis] = {}
        self._headers: dict[bytes, jws.Header] = {}
        introspecting = [(one, one.introspector) for one in authorities.values() if one.introspector is not None]
        opaque = [pair for pair in introspecting if not pair[0].introspects_all] or introspecting
        # Two that introspect, neither for opaque tokens first: nothing says whose an opaque token is.
        self._opaque = opaque[0] if len(opaque) == 1 else None

    def validate(
        self,
        raw: bytes,
        digest: bytes,
        verdict: Verdict | None,
        now: float,
        mono: float,
        requirement: Requirement,
        run: Watching | None = None,
        request: ResourceRequest | None = None,
        reading: Reading | None = None,
    ) -> AccessToken | Flow[AccessToken]:
        """The token at once where nothing has to be waited for, else the flow that goes on from there.

        `digest` is the SHA-256 of `raw`, `verdict` what is remembered under it. `reading` gives the request where only
        a bound token needs it. Raises a `TokenGuardError`, or the flow
        does.
        """
        if verdict is not None:
            case = _Case(raw, digest, now, requirement, run, request, reading)
            return self._known(case, verdict, mono) if verdict[3].is_looked_up else self._recheck(case, verdict, mono)
        try:
            unverified = jws.parse(raw, self._algorithms, self._headers)
        except InvalidTokenError as error:
            if self._opaque is None or error.reason is not Reason.MALFORMED or not jws.is_opaque(raw):
                raise
            return self._introspect(_Case(raw, digest, now, requirement, run, request, reading), *self._opaque)

        issuer = unverified.claims.get("iss")
        if not isinstance(issuer, str):
            raise InvalidTokenError(reason=Reason.ISSUER)
        header = unverified.header
        # Another token with this header held: its algorithm and type are right for this issuer.
        basis = self._bases.get((header, issuer))
        authority = self._accepting(header, issuer) if basis is None else basis.authority
        source = authority.keys
        keys = source.keys
        key = None
        if keys is not None and mono < source.quiet_until:
            key = keys.usual_key(header.kid, header.alg)
            if key is not None and key.verifies(header.alg, unverified.signing_input, unverified.signature):
                if isinstance(authority, Registered):
                    self._directory.verified(authority, mono)
                if (
                    self._denies
                    or authority.introspects_all
                    or (self._binding is not None and (request is not None or "cnf" in unverified.claims))
                ):
                    case = _Case(raw, digest, now, requirement, run, request, reading)
                    return self._conclude(case, unverified, authority, key, keys)
                audience = self._check(unverified.claims, authority, now)
                if basis is None or basis.key is not key or basis.keys is not keys:
                    basis = self._basis(unverified, authority, key, keys)
                token = self._remember(unverified, audience, basis, digest)
                if not requirement.usual_scopes <= token.scopes:
                    requirement.check(token, request, now, self._leeway)
                return token
        case = _Case(raw, digest, now, requirement, run, request, reading)
        return self._find_key(case, unverified, authority, key, mono)

    def _known(self, case: _Case, verdict: Verdict, mono: float) -> AccessToken | Flow[AccessToken]:
        """A remembered token whose issuer is looked up: at once where the verdict stands, as `begin` does for others,
        else the flow that finds out. Where tokens may be bound, that asks how this one was sent."""
        known, starts, ends, basis = verdict
        authority, source = basis.authority, basis.source
        if (
            self._binding is None
            and mono < source.quiet_until
            and basis.keys is source.keys
            and ends > case.now - self._leeway
            and starts <= case.now + self._leeway
            and isinstance(authority, Registered)
            and self._directory.is_current(authority)
        ):
            self._directory.verified(authority, mono)
            return self._enough(case, known)
        return self._recheck(case, verdict, mono)

    def _accepting(self, header: jws.Header, issuer: str) -> Authority:
        """The issuer, listed or looked up, which takes tokens with such a header."""
        authority = self._authorities.get(issuer)
        if authority is None:
            authority = self._directory.find(issuer)
        if header.alg not in authority.algorithms:
            raise _rejected(authority, Reason.ALGORITHM)
        if authority.types is not None and header.typ not in authority.types:
            raise _rejected(authority, Reason.TYPE)
        return authority

    def key_of_each_algorithm(self) -> dict[str, Key]:
        """One available key for each algorithm that tokens may have."""
        found: dict[str, Key] = {}
        for authority in (*self._authorities.values(), *self._directory.kept):
            for key in () if authority.keys.keys is None else authority.keys.keys.keys:
                for alg in key.algorithms & authority.algorithms:
                    found.setdefault(alg, key)
        return found

    # -- JWTs ----------------------------------------------------------------------------------------------------------

    def _find_key(
        self, case: _Case, unverified: jws.Unverified, authority: Authority, failed: Key | None, mono: float
    ) -> Flow[AccessToken]:
        """A refresh of the keys is due, or no single one fits, or the one that fits does not verify."""
        try:
            key, keys = yield from find_key(unverified, authority.keys, failed)
        except TokenGuardError as error:
            attach_issuer(error, authority.url)
            raise
        if isinstance(authority, Registered):
            self._directory.verified(authority, mono)
        return (yield from self._conclude(case, unverified, authority, key, keys))

    def _conclude(
        self, case: _Case, unverified: jws.Unverified, authority: Authority, key: Key, keys: KeySet
    ) -> Flow[AccessToken]:
        claims = unverified.claims
        if self._binding is None:
            audience = self._check(claims, authority, case.now)
            yield from self._check_revoked(case, authority, claims)
            basis = self._basis(unverified, authority, key, keys)
        else:
            audience = self._check_claims(claims, authority, case.now)
            use = yield from self._check_bound(self._binding, case, authority, claims)
            yield from self._check_revoked(case, authority, claims)
            yield from self._use_up(self._binding, case, authority, claims, use)
            basis = self._basis(unverified, authority, key, keys, is_bound="cnf" in claims)
        return self._enough(case, self._remember(unverified, audience, basis, case.digest))

    def _check_bound(
        self, binding: Binding, case: _Case, authority: Authority, claims: Mapping[str, Any]
    ) -> Flow[Use | None]:
        """What the token is bound to is proved; then the extra checks."""
        cnf = claims.get("cnf")
        if case.request is None and case.reading is not None and cnf is not None:
            case.request = case.reading()
        try:
            use = yield from binding.check(case, cnf)
            if self._checks:
                self._run_checks(freeze(claims), case.now)
        except TokenGuardError as error:
            _attach_claims(error, authority, claims)
            raise
        return use

    def _use_up(
        self, binding: Binding, case: _Case, authority: Authority, claims: Mapping[str, Any], use: Use | None
    ) -> Flow[None]:
        """The proof is used once, after all else held but for the requirement."""
        if use is not None:
            try:
                yield from binding.use(case, use)
            except TokenGuardError as error:
                _attach_claims(error, authority, claims)
                raise

    def _check(self, claims: dict[str, Any], authority: Authority, now: float) -> tuple[str, ...]:
        """Steps 5 to 7 but for revocation, for a token that is not bound and whose signature held. Its audience."""
        audience = self._check_claims(claims, authority, now)
        if self._checks:
            try:
                self._run_checks(freeze(claims), now)
            except TokenGuardError as error:
                _attach_claims(error, authority, claims)
                raise
        return audience

    def _check_claims(self, claims: dict[str, Any], authority: Authority, now: float) -> tuple[str, ...]:
        """Step 5, and that `cnf` is one that is enforced here."""
        expected = authority.expected
        try:
            audience = usual_claims(claims, expected, now)
            for _, check in CHECKS if audience is None else expected.unusual:
                check(claims, expected, now)
        except TokenGuardError as error:
            _attach_claims(error, authority, claims)
            raise
        if audience is not None:
            return audience
        _note_status(claims, authority)
        return audience_of(claims, expected.audience_claims)

    def _enough(self, case: _Case, token: AccessToken) -> AccessToken:
        """`token`, which is good, if it meets the requirement too."""
        case.requirement.check(token, case.request, case.now, self._leeway)
        return token

    def _basis(
        self, unverified: jws.Unverified, authority: Authority, key: Key, keys: KeySet, *, is_bound: bool = False
    ) -> Basis:
        """What the verdict on a token is based on, and those on others with its header."""
        header = unverified.header
        known = header, authority.url
        looked_up = authority if isinstance(authority, Registered) else None
        bases = self._bases_of_bound if is_bound else self._bases
        basis = bases.get(known) if looked_up is None else looked_up.bases.get((header, is_bound))
        if basis is None or basis.key is not key:
            is_usual = not is_bound and not self._checks and not self._denies and not authority.introspects_all
            basis = Basis(authority, key, keys, is_usual=is_usual)
            # Only here, where a signature held: the issuer wrote that header, and forged tokens cannot fill this.
            if looked_up is not None:
                looked_up.keep((header, is_bound), basis)
            elif len(unverified.header_text) <= _LONGEST_HEADER:
                if len(self._headers) >= _REMEMBERED_HEADERS or len(bases) >= _REMEMBERED_BASES:
                    self._headers, self._bases, self._bases_of_bound = {}, {}, {}
                    bases = self._bases_of_bound if is_bound else self._bases
                self._headers[unverified.header_text] = unverified.header
                bases[known] = basis
        basis.keys = keys
        return basis

    def _remember(
        self, unverified: jws.Unverified, audience: tuple[str, ...], basis: Basis, digest: bytes
    ) -> AccessToken:
        """The token of a JWT that passed every check; what is required of it is open."""
        token = access_token(basis.authority, unverified.claims, audience, unverified.payload)
        ends: Any = token.expires_at  # a JWT has one
        self._memory.put(digest, (token, start(token.not_before, token.issued_at), ends, basis))
        return token

    def _recheck(self, case: _Case, verdict: Verdict, mono: float) -> Flow[AccessToken]:
        """What a remembered verdict does not stand for: its key, times, extra checks, revocation, the requirement."""
        token, _, _, basis = verdict
        authority, source = basis.authority, basis.source
        if isinstance(authority, Registered):
            if not self._directory.is_current(authority):  # another one has replaced it, or its keys were dropped
                return (yield from self._validate_anew(case, mono))
            self._directory.verified(authority, mono)
        keys = source.keys
        if keys is None or mono >= source.quiet_until:
            try:
                keys = yield from source.attend()
            except TokenGuardError as error:
                attach_issuer(error, authority.url)
                raise
        if basis.keys is not keys:
            if basis.key not in keys.keys:  # withdrawn
                return (yield from self._validate_anew(case, mono))
            basis.keys = keys
        try:
            for _, check in TIMES:
                check(token.claims, authority.expected, case.now)
            if self._binding is None:
                self._run_checks(token.claims, case.now)
        except TokenGuardError as error:
            attach_token(error, token)
            raise
        if self._binding is None:
            yield from self._check_revoked(case, authority, token.claims)
        else:
            use = yield from self._check_bound(self._binding, case, authority, token.claims)
            yield from self._check_revoked(case, authority, token.claims)
            yield from self._use_up(self._binding, case, authority, token.claims, use)
        return self._enough(case, token)

    def _validate_anew(self, case: _Case, mono: float) -> Flow[AccessToken]:
        """The token as if it had never been seen."""
        self._memory.forget(case.digest)
        validated = self.validate(
            case.raw, case.digest, None, case.now, mono, case.requirement, case.run, case.request, case.reading
        )
        return validated if isinstance(validated, AccessToken) else (yield from validated)

    def _run_checks(self, claims: Mapping[str, Any], now: float) -> None:
        for check in self._checks:
            try:
                result: object = check(claims, now)
            except (MissingTokenError, InvalidRequestError):  # a token did come, and it was read
                raise InvalidTokenError from None
            except RejectedError as error:
                raise for_one_token(error) from None
            except Exception as error:
                raise ConfigurationError("an extra check raised an unexpected exception: see the cause") from error
            if result is not None and result is not True:  # a check that returns True means what happens anyway
                if inspect.iscoroutine(result):
                    result.close()  # it is never awaited, and must not warn of that
                raise ConfigurationError(
                    "an extra check must be a plain function that returns None and raises InvalidTokenError to reject:"
                    " False, a coroutine or an exception that it returns would be lost"
                )

    # -- revocation ----------------------------------------------------------------------------------------------------

    def _check_revoked(self, case: _Case, authority: Authority, claims: Mapping[str, Any]) -> Flow[None]:
        try:
            yield from self._revocation.check(authority, claims, case.raw, case.digest, case.now, case.run)
        except TokenGuardError as error:
            _attach_claims(error, authority, claims)
            raise

    def _introspect(self, case: _Case, authority: Authority, introspector: Introspector) -> Flow[AccessToken]:
        """An opaque token: what the authorization server answers is checked as the claims of a JWT are."""
        now, expected = case.now, authority.expected_of_answer
        if case.run is not None:
            case.run.introspected()
        try:
            answer = yield from introspector.ask(case.raw, case.digest, now)
            check_active(answer, expected.enforced)
        except TokenGuardError as error:
            attach_issuer(error, authority.url)
            raise
        try:
            check_answer(answer, authority.url, expected, now)
            if self._binding is None and self._checks:
                self._run_checks(freeze(answer), now)
            _note_status(answer, authority)
        except TokenGuardError as error:
            _attach_claims(error, authority, answer)
            raise
        binding = self._binding
        use = None if binding is None else (yield from self._check_bound(binding, case, authority, answer))
        try:
            yield from self._revocation.check_denied(authority, answer, now)
        except TokenGuardError as error:
            _attach_claims(error, authority, answer)
            raise
        if binding is not None:
            yield from self._use_up(binding, case, authority, answer, use)
        return self._enough(case, access_token(authority, answer, audience_of(answer, expected.audience_claims), None))


def _rejected(authority: Authority, reason: Reason) -> InvalidTokenError:
    error = InvalidTokenError(reason=reason)
    attach_issuer(error, authority.url)
    return error


def _note_status(claims: Mapping[str, Any], authority: Authority) -> None:
    if refers_to_status_list(claims) and next(authority.status_claims) == 0:
        log_status_unread(authority.url)


def _attach_claims(error: TokenGuardError, authority: Authority, claims: Mapping[str, Any]) -> None:
    """Attach to `error` whose token it was. Only for claims that hold: of a verified JWT, or an active answer."""
    client_id: object = party.client_id(claims, authority.client_id_claims)
    attach_claims(error, authority.url, client_id, claims, authority.tenant)
