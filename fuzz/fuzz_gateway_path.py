"""The path that a proxy asks the gateway about.

Holds: a path that matches a route means the same to whatever reads it: decoded once or again, before or after it is
split, with its dots resolved, with parameters or without.
"""

import posixpath
import sys
from urllib.parse import unquote_to_bytes

import atheris

with atheris.instrument_imports(include=["tokenguard"]):
    from tokenguard.gateway.paths import segments_of


def one(data: bytes) -> None:
    segments = segments_of(data)
    if segments is None:
        return
    decoded = unquote_to_bytes(data)
    assert decoded == ("/" + "/".join(segments)).encode()
    assert unquote_to_bytes(decoded) == decoded
    assert tuple(unquote_to_bytes(part).decode() for part in data.split(b"/")[1:]) == segments
    whole = decoded.rstrip(b"/") if decoded != b"/" else decoded
    assert posixpath.normpath(whole) == whole
    assert not set(decoded) & set(b"\\;")
    assert min(decoded) >= 0x20
    assert 0x7F not in decoded


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
