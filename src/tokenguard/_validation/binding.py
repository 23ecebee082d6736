"""Whether a request proves what its token is bound to: a key by a DPoP proof (RFC 9449 section 4.3), a certificate by
its connection (RFC 8705 section 3).

Owns: the order of these checks, nonces, what is kept of a proof that was used. Must not know: how a proof is taken
apart (`_oauth.dpop`), protocols, what makes a token good without all this.

A key is used only after a good token named it, so that no other client makes us verify with its key. A proof is
marked as used last, so that whatever is rejected before may be sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final, Protocol

from tokenguard._flow.effects import Asking, Call, ExchangeError, Flow
from tokenguard._jose.base64url import encode
from tokenguard._oauth import dpop, dpop_nonce
from tokenguard._oauth.confirmation import CERTIFICATE, KEY
from tokenguard._oauth.dpop import Proof, ProofHeader
from tokenguard._oauth.request_target import is_spelled_so, target, targets_of
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._validation.memory import Memory
from tokenguard._validation.replay import UsedProofs
from tokenguard.errors import (
    ConfigurationError,
    InvalidProofError,
    InvalidTokenError,
    NonceRequiredError,
    Reason,
    UnavailableError,
)
from tokenguard.request import ResourceRequest, certificate_digest, is_observed, keep_nonce
from tokenguard.resource import DPoP, MutualTLS, nonce_secrets

_LONGEST_HEADER: Final = 2_048  # octets; one with an RSA key of 8,192 bits takes 1,900
_REMEMBERED_HEADERS: Final = 4_096
_MINUTE: Final = 60.0
_ALMOST_FULL: Final = 0.8

_log = logging.getLogger("tokenguard")


class Bound(Protocol):
    """What is bound: the `cnf` of a token that is good otherwise, and the SHA-256 of the token."""

    request: ResourceRequest | None
    digest: bytes
    now: float


class Use:
    """A proof that holds and is not used up yet: the digest that it is known by, and when it cannot pass any more."""

    __slots__ = ("key", "next_nonce", "nonce_age", "until")

    def __init__(self, key: bytes, until: float, nonce_age: float | None, next_nonce: str | None) -> None:
        self.key = key
        self.until = until
        self.nonce_age = nonce_age
        self.next_nonce = next_nonce


class ProofFigures:
    """What metrics show of the proofs of one validator. Written without a lock: a count may lack one of two at once.

    - `nonce_age`: seconds since the nonce of the last good proof was made; None before the first
    - `store_failures`: good proofs of which it is unknown whether they were used before
    """

    __slots__ = ("nonce_age", "store_failures")

    def __init__(self) -> None:
        self.nonce_age: float | None = None
        self.store_failures = 0


class Binding:
    """The checks of one validator. At least one of `dpop` and `mtls` is set."""

    def __init__(
        self, settings: DPoP | None, mtls: MutualTLS | None, *, leeway: float, timeout: float, log: BoundedLog
    ) -> None:
        self._dpop = settings
        self._leeway = leeway
        self._timeout = timeout
        self._log = log
        self.figures = ProofFigures()
        self.enforced = frozenset(
            name for name, setting in ((KEY, settings), (CERTIFICATE, mtls)) if setting is not None
        )
        self.required = frozenset(
            name for name, setting in ((KEY, settings), (CERTIFICATE, mtls)) if setting is not None and setting.required
        )
        self._headers: Memory[ProofHeader] = Memory(_REMEMBERED_HEADERS)
        self.used = None
        if settings is not None and settings.replay is None:
            self.used = UsedProofs(settings.max_proofs)
            _log.info(
                "DPoP proofs are remembered in this process alone: with several, a proof is good once in each of them;"
                " share them by replay=RedisStore(...)"
            )

    def check(self, case: Bound, cnf: Mapping[str, Any] | None) -> Flow[Use | None]:
        """All but the use of the proof, None where there is none. `cnf` is one that is enforced here, or None.

        Raises `InvalidTokenError` (`confirmation`), `InvalidProofError`, `NonceRequiredError`, `UnavailableError`
        where the secret of nonces could not be read in time.
        """
        request = case.request
        key = cnf.get(KEY) if cnf is not None else None
        is_dpop = request is not None and self._dpop is not None and request.scheme.lower() == "dpop"
        if (key is not None) is not is_dpop:
            raise InvalidTokenError(reason=Reason.CONFIRMATION)
        if cnf is not None and CERTIFICATE in cnf:
            digest = None if request is None else certificate_digest(request)
            if digest is None or not compare_digest(encode(digest), cnf[CERTIFICATE].encode()):
                raise InvalidTokenError(reason=Reason.CONFIRMATION)
        if request is None or self._dpop is None or not is_dpop:
            return None
        return (yield from self._check_proof(self._dpop, request, case, key))

    def _check_proof(self, settings: DPoP, request: ResourceRequest, case: Bound, key: object) -> Flow[Use | None]:
        sent = request.proof
        if sent is not None and not isinstance(sent, str):
            sent = sent[0] if len(sent) == 1 else None
        if sent is None:
            raise InvalidProofError
        proof = dpop.read(sent, settings.allowed, settings.max_proof_bytes, self._headers)
        if not compare_digest(proof.header.thumbprint, str(key)):
            raise InvalidTokenError(reason=Reason.CONFIRMATION)
        dpop.check_types(proof.claims)
        self._check_target(settings, request, case, proof.claims)
        until = self._check_times(settings, proof.claims, case.now)
        nonce_age = next_nonce = None
        is_used = not is_observed(request)
        if settings.nonce_secret is not None and is_used:
            secrets = settings.nonce_secret
            if callable(secrets):
                secrets = yield from self._read(secrets)
            made = self._check_nonce(settings, proof.claims.get("nonce"), nonce_secrets(secrets), case.now)
            until = made + settings.nonce_max_age
            nonce_age = case.now - made
            if nonce_age > settings.nonce_max_age / 2:
                next_nonce = dpop_nonce.make(nonce_secrets(secrets)[0], case.now)
        if not proof.holds():
            raise InvalidProofError
        self._remember(proof)
        if not is_used:
            return None
        # By key and `jti`: no client can use up the `jti` of another one.
        return Use(sha256(f"{key}.{proof.claims['jti']}".encode()).digest(), until, nonce_age, next_nonce)

    def _remember(self, proof: Proof) -> None:
        # Only here, where a token named the key and the signature held: forged proofs cannot fill this.
        if proof.is_new and len(proof.header_text) <= _LONGEST_HEADER:
            self._headers.put(proof.header_text, proof.header)

    def _check_target(self, settings: DPoP, request: ResourceRequest, case: Bound, claims: Mapping[str, Any]) -> None:
        if (
            claims["htm"] == request.method
            and compare_digest(claims["ath"].encode(), encode(case.digest))
            and _is_target(claims["htu"], request.url, settings)
        ):
            return
        text = (
            "a DPoP proof is for another method, URL or token than its request; base_url is %s: if clients call this"
            " API by another URL, correct it, with the path that a proxy takes off"
        )
        self._log.write(_log, logging.WARNING, text, settings.base_url, kind="dpop base_url", every=_MINUTE)
        raise InvalidProofError(reason=Reason.PROOF_TARGET)

    def _check_times(self, settings: DPoP, claims: Mapping[str, Any], now: float) -> float:
        """When the proof cannot pass any more. The leeway is added to `now`: an int of 400 digits does not add."""
        leeway, issued = self._leeway, claims["iat"]
        if "exp" in claims and not now - leeway < claims["exp"]:
            raise InvalidProofError(reason=Reason.PROOF_TIME)
        if "nbf" in claims and not claims["nbf"] <= now + leeway:
            raise InvalidProofError(reason=Reason.PROOF_TIME)
        if settings.nonce_secret is not None:  # the nonce is the time, and the client's clock does not count
            return now
        if not now - settings.max_age - leeway <= issued <= now + leeway:
            raise InvalidProofError(reason=Reason.PROOF_TIME)
        return float(issued + settings.max_age + leeway)

    def _read(self, secret: Any) -> Flow[tuple[bytes, ...]]:
        try:
            return (yield Asking(lambda: _called(secret), self._timeout))  # type: ignore[no-any-return]
        except ExchangeError as error:
            text = "nonce_secret is a function that did not return within http_timeout: requests with DPoP get 503"
            self._log.write(_log, logging.WARNING, text, kind="dpop nonce_secret", every=_MINUTE)
            raise UnavailableError from error

    def _check_nonce(self, settings: DPoP, nonce: object, secrets: tuple[bytes, ...], now: float) -> float:
        """When the nonce was made, by the clock of any process that has the secret."""
        made = dpop_nonce.time_of(nonce, secrets)
        if made is None or not now - settings.nonce_max_age <= made <= now + self._leeway:
            raise NonceRequiredError(dpop_nonce.make(secrets[0], now))
        return made

    def use(self, case: Bound, use: Use) -> Flow[None]:
        """Use a proof up. Raises `InvalidProofError` (`replay`), `UnavailableError` where that is unknown."""
        try:
            if self.used is not None:
                first = self.used.use(use.key, use.until, case.now)
                self._warn(self.used, case.now)
            else:
                first = yield from self._ask(use, case.now)
        except UnavailableError:
            self.figures.store_failures += 1
            raise
        if first is not True:
            raise InvalidProofError(reason=Reason.REPLAY)
        if use.nonce_age is not None:
            self.figures.nonce_age = use.nonce_age
        if use.next_nonce is not None and case.request is not None:
            keep_nonce(case.request, use.next_nonce)

    def _ask(self, use: Use, now: float) -> Flow[Any]:
        store: Any = None if self._dpop is None else self._dpop.replay
        # Another process takes it until its own clock says so, which may be slow by the leeway. One second more, as
        # whole seconds of some stores round down.
        seconds = use.until - now + self._leeway + 1
        try:
            return (
                yield Call(
                    lambda: store.use_proof(use.key, seconds),
                    lambda: store.use_proof_async(use.key, seconds),
                )
            )
        except (ConfigurationError, UnavailableError):
            raise
        except Exception as error:  # a `RejectedError` too: a store that fails proves nothing about the token
            raise UnavailableError from error

    def _warn(self, used: UsedProofs, now: float) -> None:
        if used.fill >= _ALMOST_FULL * used.size:
            text = "%d %% of max_proofs (%d) are in use: raise it, or share them by replay=RedisStore(...); full is 503"
            percent = 100 * used.count(now) // used.size
            self._log.write(_log, logging.WARNING, text, percent, used.size, kind="dpop proofs", every=_MINUTE)


def _is_target(htu: str, url: str, settings: DPoP) -> bool:
    if is_spelled_so(htu, url, settings.spelled_bases):
        return True
    named = target(htu)
    return named is not None and named in targets_of(url, settings.bases)


def _called(secret: Any) -> Any:
    try:
        return nonce_secrets(secret())
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError("nonce_secret raised an unexpected exception: see the cause") from error
