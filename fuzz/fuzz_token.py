"""The token parser and everything behind it, up to the verdict. Two kinds of input: a token as it is sent, and, after
`S`, a header and a payload with a line of three dashes between, which are signed, so that the claims are reached too.

Holds: nothing but `TokenGuardError` leaves `validate`; a second call says the same; an unsigned input is never
accepted; what is accepted is strict JSON to a second reader, and its claims are those that a plain reader sees.
"""

import base64
import hmac
import sys

import atheris

with atheris.instrument_imports(include=["tokenguard"]):
    from tokenguard import AccessToken, Issuer, Reason, RejectedError, TokenValidator

from oracles import strict_object
from seeds import SEPARATOR

NOW = 1_900_000_000
SECRET = bytes(range(64))
JWK = {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(SECRET).rstrip(b"=").decode()}
ISSUER = Issuer("https://issuer.example", jwks={"keys": [JWK]}, algorithms=["HS256"])
VALIDATOR = TokenValidator(ISSUER, "https://api.example.com", clock=lambda: NOW)


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def verdict(raw: str) -> AccessToken | Reason:
    try:
        return VALIDATOR.validate(raw, scope="orders:read")
    except RejectedError as error:
        return error.reason


def one(data: bytes) -> None:
    signed = data[:1] == b"S" and SEPARATOR in data
    if signed:
        header, _, payload = data[1:].partition(SEPARATOR)
        text = b64(header) + b"." + b64(payload)
        raw = (text + b"." + b64(hmac.digest(SECRET, text, "sha256"))).decode()
    else:
        raw = data.decode("utf-8", "surrogateescape")
    first = verdict(raw)
    assert verdict(raw) is first, "a second look says something else"
    if hasattr(first, "claims"):
        assert signed, "nobody signed this"
        head, claims = strict_object(header, 1_000), strict_object(payload, 1_000)
        assert head is not None, "the header is not strict JSON"
        assert claims is not None, "the payload is not strict JSON"
        assert head["alg"] == "HS256"
        assert not {"crit", "enc"} & head.keys()
        assert claims["iss"] == "https://issuer.example"
        assert claims["aud"] == "https://api.example.com" or "https://api.example.com" in list(claims["aud"])
        assert type(claims["exp"]) in (int, float)
        assert claims["exp"] > NOW - 30
        assert "cnf" not in claims
        assert set(first.claims) == set(claims)
    elif signed and first == "malformed" and len(raw) <= 16_384:
        head, claims = strict_object(header, 1_000), strict_object(payload, 1_000)
        odd = head is not None and (head.keys() & {"crit", "enc", "b64", "kid"})
        assert head is None or claims is None or odd, "refused, and a second reader sees nothing wrong"


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
