"""A remembered token that is bound to a key: each request brings a proof of its own, and nothing is skipped.

Beside it the bare verification of one proof's signature, which cannot be avoided.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from contest import Sample, Setup, contender, going_round
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tokenguard import DPoP, ResourceRequest, TokenValidator
from tokenguard._validation.replay import UsedProofs
from tokenguard.testing import ClientKey, FakeIssuer
from tokenguard.testing.tokens import b64url

_BASE = "https://api.example.com"
_PROOFS = 2_000


def _made() -> tuple[FakeIssuer, ClientKey, str, list[str]]:
    issuer = FakeIssuer()
    key = issuer.client_key()
    token = issuer.mint("orders:read", bound_to=key, expires_in=86_400)
    return issuer, key, token, [key.proof(token, "GET", f"{_BASE}/orders") for _ in range(_PROOFS)]


def _validator(issuer: FakeIssuer) -> TokenValidator:
    made = issuer.validator(dpop=DPoP(_BASE, max_age=86_400), clock=time.time)
    made.warm_up()
    return made


@contender("bound", "bare verify()")
def _bare(_: Setup) -> Sample:
    _, key, _, proofs = _made()
    public, algorithm = key.key.private.public_key(), ec.ECDSA(hashes.SHA256())  # type: ignore[union-attr]
    signed = []
    for proof in proofs:
        text, _, signature = proof.rpartition(".")
        octets = _decoded(signature)
        pair = encode_dss_signature(int.from_bytes(octets[:32], "big"), int.from_bytes(octets[32:], "big"))
        signed.append((pair, text.encode()))
    take = going_round(signed)

    def sample(count: int) -> None:
        for signature, text in take(count):
            public.verify(signature, text, algorithm)  # type: ignore[call-arg, arg-type, union-attr]

    return sample


@contender("bound", "tokenguard")
def _bound(_: Setup) -> Sample:
    issuer, _, token, proofs = _made()
    validator = _validator(issuer)
    binding = validator._validation._binding  # noqa: SLF001 - its memory starts anew with each round
    assert binding is not None

    def requests() -> Iterator[ResourceRequest]:
        while True:
            binding.used = UsedProofs(1_000_000)  # of the last round nothing is known
            for proof in proofs:
                yield ResourceRequest("GET", "/orders", "DPoP", proof)

    asked, validate = requests(), validator.validate

    def sample(count: int) -> None:
        for _, request in zip(range(count), asked, strict=False):
            validate(token, scope="orders:read", request=request)

    return sample


@contender("bound", "tokenguard, an unbound token beside")
def _unbound(_: Setup) -> Sample:
    issuer, *_ = _made()
    validator, token = _validator(issuer), issuer.mint(expires_in=86_400)
    validate = validator.validate

    def sample(count: int) -> None:
        for _ in range(count):
            validate(token)

    return sample


@contender("bound", "tokenguard, without dpop")
def _without(_: Setup) -> Sample:
    issuer, *_ = _made()
    validator, token = issuer.validator(clock=time.time), issuer.mint(expires_in=86_400)
    validate = validator.validate

    def sample(count: int) -> None:
        for _ in range(count):
            validate(token)

    return sample


def _decoded(text: str) -> bytes:
    from base64 import urlsafe_b64decode

    octets = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert b64url(octets) == text
    return octets
