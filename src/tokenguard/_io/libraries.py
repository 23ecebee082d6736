"""httpx2 and httpx: the choice between the two for our own exchanges. The only module that names both.

Owns: the choice. Must not know: what is exchanged.

Both have the same interface. httpx2 is maintained and is used if it is installed; httpx is a dependency of tokenguard.
A caller's transport decides the library, as its answers are objects of that library.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import Any, Final

_NAMES: Final = ("httpx2", "httpx")

# Modules that each library loads at the first connection. That takes 15 to 100 ms, too long for an event loop. And if a
# process forks while a thread holds a module's import lock, the child waits for ever.
_LATE: Final = {
    "httpx2": ("httpcore2", "httpcore2._backends.anyio"),
    "httpx": ("httpcore", "httpcore._backends.anyio"),
}
_LATE_OF_BOTH: Final = ("anyio._backends._asyncio", "encodings.idna")


# Once: to look for an absent module takes a millisecond, and an import lock, for which a child process that is forked
# meanwhile waits for ever.
@cache
def preferred() -> Any:
    """The library for exchanges without a transport of the caller, with every module that it needs loaded."""
    for name in _NAMES[:-1]:
        if _is_importable(name):
            break
    else:
        name = _NAMES[-1]
    library = import_module(name)
    for late in (*_LATE[name], *_LATE_OF_BOTH):
        _is_importable(late)
    return library


def library_of(transport: object) -> Any:
    """The library that `transport` belongs to, the preferred one for None, httpx for a transport of neither."""
    if transport is None:
        return preferred()
    for library in loaded():
        if isinstance(transport, (library.BaseTransport, library.AsyncBaseTransport)):
            return library
    return import_module("httpx")


def loaded() -> tuple[Any, ...]:
    """The libraries that this process has loaded."""
    return tuple(library for name in _NAMES if (library := sys.modules.get(name)) is not None)


def _is_importable(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True
