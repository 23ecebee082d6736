"""Signing keys that outlive a process: a JWK set (RFC 7517 section 5) in a file of its owner's alone.

Owns: reading and making that file. Must not know: issuers, tokens.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Final

from tokenguard._jose import strict_json
from tokenguard.testing.signing_keys import SigningKey, key_of, named_key

__all__ = ["KeyFileError", "keys_in"]

_OWNER_ONLY: Final = 0o600
_OTHERS: Final = 0o077
_LONGEST: Final = 65_536  # octets; an RSA key takes two thousand
_NO_KEYS: Final = "holds no signing keys: name another file, or delete this one to have new keys made"


class KeyFileError(Exception):
    """The file cannot be used: what is wrong with it, in words that go on after its name."""


def keys_in(path: Path, algorithm: str | None) -> list[SigningKey]:
    """The keys in the file, the one that signs first; made for `algorithm` (default: RS256) where there is none.

    It has mode 0600. Raises `KeyFileError`.
    """
    try:
        return _make(path, algorithm or "RS256")
    except FileExistsError:
        pass
    except OSError:
        raise KeyFileError("cannot be written") from None
    keys = _read(path)
    if algorithm is not None and keys[0].algorithm != algorithm:
        raise KeyFileError(f"has a key for {keys[0].algorithm}: leave --algorithm out, or name another file")
    return keys


def _make(path: Path, algorithm: str) -> list[SigningKey]:
    # Exclusively: of two that start at once one makes the file, and a link that leads elsewhere is not followed.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w", encoding="ascii") as file:
        key = named_key(algorithm)
        json.dump({"keys": [key.private_jwk()]}, file)
    return [key]


def _read(path: Path) -> list[SigningKey]:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # a pipe, say, would never be read to its end
            raise KeyFileError("is no file")
        if os.name == "posix" and mode & _OTHERS:
            raise KeyFileError("can be read by others: chmod 600 it, or delete it to have new keys made")
        with path.open("rb") as file:
            document = strict_json.parse_object(file.read(_LONGEST))
        members = document.get("keys")
        keys = [key_of(member) for member in members] if isinstance(members, list) else []
    except OSError:
        raise KeyFileError("cannot be read") from None
    except (ValueError, AttributeError):  # a member that is no object has no `get`
        raise KeyFileError(_NO_KEYS) from None
    if not keys or len({key.kid for key in keys}) != len(keys):
        raise KeyFileError(_NO_KEYS)
    return keys
