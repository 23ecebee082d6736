"""Malformed tokens: those that a strict reader rejects before or while it reads them.

Owns: one method per kind; all must give `Reason.MALFORMED`, rightly signed wherever a signature is possible.
Must not know: HTTP, how the validator finds out.
"""

from __future__ import annotations

import json

from tokenguard.errors import Reason
from tokenguard.testing.bad_tokens import When, bad
from tokenguard.testing.forgeries import ForgingMint
from tokenguard.testing.tokens import b64url, changed, serialise

__all__ = ["MalformingMint"]


class MalformingMint(ForgingMint):
    """A `ForgingMint` that also makes tokens that are not well-formed signed JWTs (RFC 7515, RFC 7519)."""

    # Segments

    @bad(Reason.MALFORMED, When.NOT_INTROSPECTED)
    def not_a_token(self) -> str:
        """No dots at all, and not a token of this issuer. `Reason.MALFORMED` without introspection."""
        return "not-a-token"

    @bad(Reason.MALFORMED, When.NOT_INTROSPECTED)
    def two_segments(self) -> str:
        """The signature and its dot are missing. `Reason.MALFORMED`."""
        return self.mint().rpartition(".")[0]

    @bad(Reason.MALFORMED)
    def stripped_signature(self) -> str:
        """The signature is empty. `Reason.MALFORMED`."""
        return f"{self.mint().rpartition('.')[0]}."

    @bad(Reason.MALFORMED)
    def unsecured(self) -> str:
        """An unsecured JWS (RFC 7515 appendix A.5): `alg` is `none` and no signature. `Reason.MALFORMED`."""
        header = b64url(serialise({"typ": "at+jwt", "alg": "none"}))
        return f"{header}.{b64url(serialise(self.claims()))}."

    @bad(Reason.MALFORMED)
    def empty_payload(self) -> str:
        """Nothing between the dots. `Reason.MALFORMED`."""
        return self.sign(self._header(), b"")

    @bad(Reason.MALFORMED, When.NOT_INTROSPECTED)
    def encrypted(self) -> str:
        """Five segments, as a JWE has (RFC 7516 section 7.1). `Reason.MALFORMED`."""
        header = b64url(serialise({"alg": "RSA-OAEP-256", "enc": "A256GCM", "typ": "at+jwt", "kid": self.key.kid}))
        return ".".join((header, *(b64url(self._random_bytes(size)) for size in (256, 12, 200, 16))))

    @bad(Reason.MALFORMED)
    def too_large(self, *, size: int = 20_000) -> str:
        """Longer than the default `max_token_bytes` (16,384); `size` in octets is a lower bound. `Reason.MALFORMED`."""
        return self.mint(padding="x" * size)

    # Base64url (RFC 4648 section 5)

    @bad(Reason.MALFORMED)
    def not_base64(self) -> str:
        """A `!` inside the payload. `Reason.MALFORMED`."""
        header, payload, signature = self.mint().split(".")
        return f"{header}.{payload[:-1]}!.{signature}"

    @bad(Reason.MALFORMED)
    def padded(self) -> str:
        """A `=` after the signature. `Reason.MALFORMED`."""
        return f"{self.mint()}="

    @bad(Reason.MALFORMED)
    def standard_base64(self) -> str:
        """`+` and `/`, the alphabet of RFC 4648 section 4. `Reason.MALFORMED`."""
        header, payload, signature = self.mint().split(".")
        return f"{header}.{payload}.+/{signature[2:]}"

    @bad(Reason.MALFORMED)
    def trailing_bits(self) -> str:
        """The payload's last character carries bits that decode to nothing. `Reason.MALFORMED`."""
        claims = {**self.claims(), "pad": ""}
        while len(serialise(claims)) % 3 != 1:  # one octet left over: two characters, four of their bits unused
            claims["pad"] = f"{claims['pad']}x"
        header, payload, signature = self.sign(self._header(), claims).split(".")
        return f"{header}.{payload[:-1]}{chr(ord(payload[-1]) + 1)}.{signature}"

    @bad(Reason.MALFORMED)
    def not_ascii(self) -> str:
        """A letter outside ASCII in the signature. `Reason.MALFORMED`."""
        return f"{self.mint()[:-1]}é"

    # JSON (RFC 8259)

    @bad(Reason.MALFORMED)
    def not_json(self) -> str:
        """The payload is text. `Reason.MALFORMED`."""
        return self.sign(self._header(), b"hello")

    @bad(Reason.MALFORMED)
    def not_an_object(self) -> str:
        """The payload is a JSON array. `Reason.MALFORMED`."""
        return self.sign(self._header(), b"[1]")

    @bad(Reason.MALFORMED)
    def duplicate_header_member(self) -> str:
        """`kid` twice in the header (RFC 7515 section 4). `Reason.MALFORMED`."""
        return self.sign(self._twice(serialise(self._header()), "kid"), self.claims())

    @bad(Reason.MALFORMED)
    def duplicate_claim(self) -> str:
        """`exp` twice, the second one far ahead (RFC 7519 section 4). `Reason.MALFORMED`."""
        return self.sign(self._header(), self._twice(serialise(self.claims()), "exp"))

    @bad(Reason.MALFORMED)
    def not_a_number(self) -> str:
        """`exp` is `NaN`, which is not JSON. `Reason.MALFORMED`."""
        return self.mint(exp=float("nan"))

    @bad(Reason.MALFORMED)
    def infinite(self) -> str:
        """`exp` is `1e999`: JSON, and infinite once it is read. `Reason.MALFORMED`."""
        rest = serialise(changed(self.claims(), {"exp": 0})).replace(b'"exp":0', b'"exp":1e999')
        return self.sign(self._header(), rest)

    @bad(Reason.MALFORMED)
    def deep_nesting(self, *, depth: int = 100) -> str:
        """A claim nested `depth` levels deep; 64 are allowed. `Reason.MALFORMED`."""
        rest = serialise(self.claims())[:-1]
        return self.sign(self._header(), rest + b',"deep":' + b"[" * depth + b"]" * depth + b"}")

    @bad(Reason.MALFORMED)
    def too_many_members(self, *, count: int = 1_001) -> str:
        """`count` members besides the usual ones; 1,000 are allowed. `Reason.MALFORMED`."""
        return self.sign(self._header(), {**self.claims(), **{f"m{number}": 0 for number in range(count)}})

    @bad(Reason.MALFORMED)
    def utf16(self) -> str:
        """The payload is JSON in UTF-16; only UTF-8 is allowed (RFC 7519 section 3). `Reason.MALFORMED`."""
        return self.sign(self._header(), json.dumps(self.claims()).encode("utf-16"))

    # Header parameters

    @bad(Reason.MALFORMED)
    def critical(self) -> str:
        """`crit` names an extension (RFC 7515 section 4.1.11); none is understood. `Reason.MALFORMED`."""
        return self.mint(header={"crit": ["exp"], "exp": 0})

    @bad(Reason.MALFORMED)
    def unencoded_payload(self) -> str:
        """`b64` is `false` (RFC 7797 section 3). `Reason.MALFORMED`."""
        return self.mint(header={"b64": False})

    @bad(Reason.MALFORMED)
    def kid_as_number(self) -> str:
        """`kid` is a number (RFC 7515 section 4.1.4). `Reason.MALFORMED`."""
        return self.mint(header={"kid": 1})

    @bad(Reason.MALFORMED)
    def kid_too_long(self, *, length: int = 513) -> str:
        """`kid` of `length` characters; 512 are allowed. `Reason.MALFORMED`."""
        return self.mint(header={"kid": "k" * length})

    def _header(self) -> dict[str, object]:
        return {"typ": "at+jwt", "alg": self.key.algorithm, "kid": self.key.kid}

    def _twice(self, members: bytes, name: str) -> bytes:
        value = b'"other"' if name == "kid" else b"%d" % (int(self.clock()) + 10**6)
        return b'%s,"%s":%s}' % (members[:-1], name.encode("ascii"), value)
