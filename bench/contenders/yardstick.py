"""What cannot be avoided: the bare signature, and one digest of a token."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any

from contest import Sample, Setup, contender, going_round
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from jwt import PyJWK

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
_SHA256 = hashes.SHA256()
_EXTRA: dict[str, tuple[Any, ...]] = {
    "RS256": (padding.PKCS1v15(), _SHA256),
    "PS256": (padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=_SHA256.digest_size), _SHA256),
    "ES256": (ec.ECDSA(_SHA256),),
    "EdDSA": (),
}


def _verify(algorithm: str, setup: Setup) -> Sample:
    corpus = setup.corpus(algorithm)
    verify = PyJWK(corpus.jwks["keys"][0], algorithm).key.verify
    prepared = []
    for token in corpus.tokens:
        signing_input, _, text = token.rpartition(".")
        signature = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if algorithm == "ES256":
            half = len(signature) // 2
            signature = encode_dss_signature(
                int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
            )
        prepared.append((signature, signing_input.encode()))
    take, extra = going_round(prepared), _EXTRA[algorithm]

    def sample(count: int) -> None:
        for signature, signing_input in take(count):
            verify(signature, signing_input, *extra)

    return sample


def _enter(algorithm: str) -> None:
    make: Callable[[Setup], Sample] = partial(_verify, algorithm)
    contender(f"new {algorithm}", "bare verify()")(make)
    contender(f"new {algorithm}", "bare verify(), again")(make)


for _algorithm in ALGORITHMS:
    _enter(_algorithm)


def _digest(setup: Setup) -> Sample:
    take = going_round(setup.corpus().tokens[:50])

    def sample(count: int) -> None:
        for token in take(count):
            sha256(token.encode()).digest()

    return sample


contender("remembered", "one SHA-256")(_digest)
contender("remembered", "one SHA-256, again")(_digest)
