"""The checks of what a token is bound to: its DPoP proof, its certificate.

Owns: what each check expects and what it found, in words. Must not know: keys of issuers, the verdict. Whether a proof
was used before is not checked here: a check must not mark it as used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any, Final

from tokenguard._jose.base64url import encode
from tokenguard._oauth import dpop, dpop_nonce
from tokenguard._oauth.confirmation import CERTIFICATE, KEY
from tokenguard._oauth.dpop import Proof
from tokenguard._oauth.request_target import target, targets_of
from tokenguard.cli.output import duration, shown
from tokenguard.cli.record import FailedError, Record, rejection
from tokenguard.errors import Reason
from tokenguard.request import ResourceRequest, certificate_digest
from tokenguard.resource import DPoP, nonce_secrets

_NOTHING: Final[dict[bytes, Any]] = {}


def explain(record: Record, raw: str, request: ResourceRequest, settings: DPoP | None) -> None:
    """The checks of `request`, in order, for a token whose claims are known."""
    cnf: Any = (record.claims or {}).get("cnf")
    cnf = cnf if isinstance(cnf, dict) else {}
    if CERTIFICATE in cnf or request.certificate is not None:
        record.step("certificate", "the certificate that the token is bound to", partial(_certificate, request, cnf))
    if settings is None or not (KEY in cnf or request.scheme == "DPoP"):
        return
    record.step("scheme", "DPoP, and a token with jkt", partial(_scheme, request, cnf))
    proof = _read(record, request, settings)
    record.step("proof key", "the key that the token is bound to", _when(proof, _key, cnf))
    typed = proof is not None and rejection(dpop.check_types, proof.claims) is None
    record.step(
        "proof claims",
        "jti, htm, htu, ath are strings, iat is a number",
        _when(proof, _claims, typed=typed),
    )
    good = proof if typed else None
    bases = " or ".join([settings.base_url] if isinstance(settings.base_url, str) else settings.base_url)
    record.step(
        "proof target",
        f"{request.method}, {bases} and the path, this token",
        _when(good, _target, request, settings, raw),
    )
    record.step("proof time", "iat, exp and nbf fit the time", _when(good, _time, record, settings))
    if settings.nonce_secret is not None:
        record.step("nonce", "a nonce of this API that is still good", _when(good, _nonce, record, settings))
    record.step("proof signature", "it holds under the proof's own key", _when(proof, _signature))


def _when(proof: Proof | None, check: Callable[..., str], *arguments: Any, **settings: Any) -> Callable[[], str] | None:
    """A check of a proof, None where there is no proof to check."""
    return None if proof is None else partial(check, proof, *arguments, **settings)


def _certificate(request: ResourceRequest, cnf: dict[str, Any]) -> str:
    digest = certificate_digest(request)
    found = "no certificate" if digest is None else f"x5t#S256 {encode(digest).decode('ascii')}"
    if CERTIFICATE not in cnf:
        return f"{found}; the token is not bound to one"
    if digest is None or encode(digest).decode("ascii") != cnf[CERTIFICATE]:
        raise FailedError(Reason.CONFIRMATION, f"{found}, but the token has {shown(cnf[CERTIFICATE])}")
    return found


def _scheme(request: ResourceRequest, cnf: dict[str, Any]) -> str:
    found = f"{request.scheme}, and a token {'with' if KEY in cnf else 'without'} jkt"
    if request.scheme != "DPoP" or KEY not in cnf:
        raise FailedError(Reason.CONFIRMATION, found)
    return found


def _read(record: Record, request: ResourceRequest, settings: DPoP) -> Proof | None:
    found: list[Proof] = []

    def read() -> str:
        sent = request.proof if isinstance(request.proof, str) else ""
        try:
            found.append(dpop.read(sent, settings.allowed, settings.max_proof_bytes, _NOTHING))
        except Exception:  # noqa: BLE001 - whatever it is, it is no proof
            raise FailedError(Reason.PROOF, f"{len(sent)} octets that are no proof") from None
        return f"{found[0].header.alg}, {len(sent)} octets"

    record.step("proof", f"dpop+jwt, at most {settings.max_proof_bytes} octets, a public key, an allowed alg", read)
    return found[0] if found else None


def _key(proof: Proof, cnf: dict[str, Any]) -> str:
    if proof.header.thumbprint != cnf.get(KEY):
        raise FailedError(
            Reason.CONFIRMATION, f"jkt {proof.header.thumbprint}, but the token has {shown(cnf.get(KEY))}"
        )
    return f"jkt {proof.header.thumbprint}"


def _claims(proof: Proof, *, typed: bool) -> str:
    found = ", ".join(map(shown, proof.claims)) or "none"
    if not typed:
        raise FailedError(Reason.PROOF, found)
    return found


def _target(proof: Proof, request: ResourceRequest, settings: DPoP, raw: str) -> str:
    claims = proof.claims
    found = f"{shown(claims['htm'])}, {shown(claims['htu'])}"
    if claims["htm"] != request.method or target(claims["htu"]) not in targets_of(request.url, settings.bases):
        raise FailedError(Reason.PROOF_TARGET, found)
    if claims["ath"] != encode(sha256(raw.encode("utf-8", "surrogateescape")).digest()).decode("ascii"):
        raise FailedError(Reason.PROOF_TARGET, f"{found}, and ath of another token")
    return found


def _time(proof: Proof, record: Record, settings: DPoP) -> str:
    now, leeway, claims = record.around.now, record.around.leeway, proof.claims
    away = now - min(max(claims["iat"], -1e15), 1e15)
    found = f"made {duration(away)} ago" if away >= 0 else f"made in {duration(-away)}"
    good = settings.nonce_secret is not None or -leeway <= away <= settings.max_age + leeway
    good = good and now - leeway < claims.get("exp", now) and claims.get("nbf", now) <= now + leeway
    if not good:
        raise FailedError(Reason.PROOF_TIME, found)
    return found


def _nonce(proof: Proof, record: Record, settings: DPoP) -> str:
    given: Any = settings.nonce_secret
    made = dpop_nonce.time_of(proof.claims.get("nonce"), nonce_secrets(given() if callable(given) else given))
    if made is None:
        raise FailedError(Reason.NONCE, "none of this API")
    age = record.around.now - made
    if not -record.around.leeway <= age <= settings.nonce_max_age:
        raise FailedError(Reason.NONCE, f"made {duration(abs(age))} {'ago' if age > 0 else 'ahead'}")
    return f"made {duration(abs(age))} ago"


def _signature(proof: Proof) -> str:
    if not proof.holds():
        raise FailedError(Reason.PROOF, "it does not")
    return "it holds"
