"""The reader of DPoP proofs and everything behind it. Two kinds of input: a proof as it is sent, and, after `S`, a
header and a payload with a line of three dashes between, which are signed by the key that the token is bound to.

Holds: nothing but `TokenGuardError` leaves `validate`; an unsigned input is never accepted; what is accepted is strict
JSON to a second reader, is for this request, and is not accepted again.
"""

import base64
import hashlib
import sys

import atheris

with atheris.instrument_imports(include=["tokenguard"]):
    from tokenguard import AccessToken, DPoP, Reason, RejectedError, ResourceRequest
    from tokenguard.testing import FakeIssuer

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from oracles import strict_object
from seeds import SEPARATOR

NOW = 1_900_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


X = b64(PUBLIC).decode()
JKT = b64(hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{X}"}}'.encode()).digest()).decode()
ISSUER = FakeIssuer(clock=lambda: NOW)
TOKEN = ISSUER.mint(cnf={"jkt": JKT})
ATH = b64(hashlib.sha256(TOKEN.encode()).digest()).decode()
VALIDATOR = ISSUER.validator(dpop=DPoP("https://api.example.com/v1"), leeway=30)


def verdict(proof: str) -> AccessToken | Reason:
    try:
        return VALIDATOR.validate(TOKEN, request=ResourceRequest("POST", "/orders/7", "DPoP", proof))
    except RejectedError as error:
        return error.reason


def one(data: bytes) -> None:
    signed = data[:1] == b"S" and SEPARATOR in data
    if signed:
        header, _, payload = data[1:].replace(b"@X@", X.encode()).replace(b"@ATH@", ATH.encode()).partition(SEPARATOR)
        text = b64(header) + b"." + b64(payload)
        proof = (text + b"." + b64(KEY.sign(text))).decode()
    else:
        proof = data.decode("utf-8", "surrogateescape")
    first = verdict(proof)
    if hasattr(first, "confirmation"):
        assert signed, "nobody signed this"
        assert verdict(proof) == "replay"
        head, claims = strict_object(header, 1_000), strict_object(payload, 1_000)
        assert head is not None, "the header is not strict JSON"
        assert claims is not None, "the payload is not strict JSON"
        assert head["typ"] == "dpop+jwt"
        assert head["alg"] in ("EdDSA", "Ed25519")
        assert head["jwk"].get("d") is None
        assert not {"crit", "enc"} & head.keys()
        assert (claims["htm"], claims["ath"]) == ("POST", ATH)
        assert claims["htu"].endswith("7") or {"?", "#", "%"} & set(claims["htu"])
        assert NOW - 90 <= claims["iat"] <= NOW + 30
        assert 1 <= len(claims["jti"]) <= 256
    else:
        assert first != "replay" or signed


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
