"""PEM public keys (RFC 7468 section 13): keys without a kid, which some issuers publish instead of a JWK set.

Owns: what such a text may be, and the error text for anything else. Must not know: what a key may be (`jwk`, which
reads each of them), settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from tokenguard._jose.jwk import Key, UnusableKeyError, import_key
from tokenguard._jose.key_set import MAX_TRIED, KeySet

_BEGIN: Final = "-----BEGIN "
_NO_PEM: Final = (
    "it is no PEM public key: write the text from -----BEGIN PUBLIC KEY----- on; a shared secret or a JWK goes into"
    ' {"keys": [...]}'
)
_DAMAGED: Final = "it is damaged, or of another kind than RSA, P-256, P-384, P-521 and Ed25519"


class NamelessKeys(KeySet):
    """Keys without a `kid`: a token is tried with each key that fits its algorithm."""

    __slots__ = ()
    are_named = False

    def usual_key(self, kid: str | None, alg: str) -> Key | None:  # noqa: ARG002
        return super().usual_key(None, alg)

    def fitting(self, kid: str | None, alg: str) -> list[Key]:  # noqa: ARG002
        return super().fitting(None, alg)


def import_pem(texts: Iterable[str | bytes]) -> NamelessKeys:
    """The keys, one for each text, without duplicates. Raises `UnusableKeyError`, also for more keys of one kind than a
    token is tried with."""
    keys: dict[Any, Key] = {}
    for text in texts:
        key = _import(text)
        keys.setdefault(key.identity, key)
    for key in keys.values():
        if sum(other.algorithms == key.algorithms for other in keys.values()) > MAX_TRIED:
            raise UnusableKeyError(
                f"there are more than {MAX_TRIED} of one kind, and no kid selects the one for a token: write a JWK set"
                " whose keys have a kid"
            )
    return NamelessKeys(tuple(keys.values()))


def _import(text: str | bytes) -> Key:
    text = text if isinstance(text, str) else text.decode("ascii", "replace")
    if _BEGIN not in text or not text.isascii():
        raise UnusableKeyError(_NO_PEM)
    if text.count(_BEGIN) > 1:
        raise UnusableKeyError("it holds several PEM blocks: give a list with one key in each text")
    if "PRIVATE KEY-----" in text:
        raise UnusableKeyError("it is a private key: give the public one, as `openssl pkey -pubout` writes it")
    if "CERTIFICATE" in text:
        raise UnusableKeyError("it is a certificate: give its key, as `openssl x509 -pubkey -noout` writes it")
    from tokenguard._jose.signatures import public_jwk

    try:
        jwk = public_jwk(text.encode("ascii"))
    except Exception:  # noqa: BLE001 - libraries raise several, and their messages may quote the key
        raise UnusableKeyError(_DAMAGED) from None
    return import_key(jwk)
