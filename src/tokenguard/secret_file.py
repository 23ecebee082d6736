"""`SecretFile`: a secret that a platform keeps in a file, read at each use.

Owns: how the file is read and what is no secret. Must not know: what the secret is for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tokenguard.errors import ConfigurationError

__all__ = ["SecretFile"]

_LARGEST: Final = 65_536  # octets; the longest private key in PEM takes a tenth of it


class SecretFile:
    """A secret in a file, such as one that Docker or Kubernetes mounts. Give it where a secret may be a callable.

    - `path`: absolute

    Each call opens the file, so that a rotated secret counts at its next use, and returns its text, UTF-8, without
    one final newline. A file that is missing, empty, no file, not UTF-8 or larger than 64 KiB raises: nothing of it is
    ever sent. The `repr` shows the path, never the secret.

    Raises `ConfigurationError` for a path that is not absolute, and when called.
    """

    __slots__ = ("_path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self._path = os.fspath(path)
        except TypeError:
            self._path = ""
        if not isinstance(self._path, str) or not Path(self._path).is_absolute() or "\0" in self._path:
            raise ConfigurationError("a secret file must be given by an absolute path, such as /run/secrets/name")

    def __call__(self) -> str:
        """The secret as it is now."""
        try:
            with open(self._path, "rb", opener=_without_waiting) as file:
                data = file.read(_LARGEST + 1) or b""  # None: a pipe into which nothing has been written yet
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise ConfigurationError("the secret file is not UTF-8") from None
        except OSError as error:  # its text would quote the path, and what is given as one may be the secret itself
            raise ConfigurationError(f"the secret file cannot be read ({type(error).__name__})") from None
        if len(data) > _LARGEST:
            raise ConfigurationError("the secret file is larger than 64 KiB, so it holds something else")
        text = text.removesuffix("\r\n" if text.endswith("\r\n") else "\n")
        if not text:
            raise ConfigurationError("the secret file is empty")
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretFile) and other._path == self._path

    def __hash__(self) -> int:
        return hash(self._path)

    def __repr__(self) -> str:
        return f"SecretFile({self._path!r})"


def _without_waiting(path: str, flags: int) -> int:
    """To open a pipe waits for a writer, without end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
