"""The field that a proxy sends a client's certificate in. The first octet chooses the format.

Holds: a digest or `MalformedCertificateError`; a certificate only where a lax reader finds the same octets first.
"""

import base64
import hashlib
import re
import sys
from urllib.parse import unquote_to_bytes

import atheris

with atheris.instrument_imports(include=["tokenguard"]):
    from tokenguard._oauth.certificate import FORMATS, MalformedCertificateError, read_field


def lax(value: str, form: str) -> bytes | None:
    """The octets of the first certificate, by whatever stands for base64."""
    text = unquote_to_bytes(value).decode("latin-1") if form == "pem" and "%" in value else value
    if form == "pem":
        text = text.partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]
    if form == "traefik":
        text = text.partition(",")[0]
    text = re.sub(r"[^A-Za-z0-9+/]", "", text)
    return base64.b64decode(text + "=" * (-len(text) % 4)) if len(text) % 4 != 1 else None


def one(data: bytes) -> None:
    if not data:
        return
    form, value = FORMATS[data[0] % len(FORMATS)], data[1:].decode("latin-1")
    try:
        digest, der = read_field(value, form)
    except MalformedCertificateError:
        return
    assert len(digest) == 32
    if form == "xfcc":
        assert der is None
        assert digest.hex() in value.lower()
        assert value.count(",") == 0 or '"' in value
    else:
        assert der
        assert digest == hashlib.sha256(der).digest()
        assert der == lax(value, form)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
