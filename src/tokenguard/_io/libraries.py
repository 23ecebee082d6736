"""httpx2 and httpx: which of the two does our own exchanges. The one module that names them.

Owns: the choice. Must not know: what is exchanged.

Both have one interface. httpx2 is the maintained one and is used where it is installed; httpx is what tokenguard
depends on. A transport of the caller's decides for itself: its answers are of its own library.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

_NAMES: Final = ("httpx2", "httpx")

# What either library loads at the first connection. That takes 15 to 100 ms, which belong on no event loop; and a
# process that forks while a thread holds a module's import lock has a child that waits for ever.
_LATE: Final = {
    "httpx2": ("httpcore2", "httpcore2._backends.anyio"),
    "httpx": ("httpcore", "httpcore._backends.anyio"),
}
_LATE_OF_BOTH: Final = ("anyio._backends._asyncio", "encodings.idna")


def preferred() -> Any:
    """The library for exchanges without a transport of the caller's, with all that it will need."""
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
    """The library that `transport` is of; None is nobody's. One that is of neither speaks httpx."""
    if transport is None:
        return preferred()
    for library in loaded():
        if isinstance(transport, (library.BaseTransport, library.AsyncBaseTransport)):
            return library
    return import_module("httpx")


def loaded() -> tuple[Any, ...]:
    """Those that this process uses by now."""
    return tuple(library for name in _NAMES if (library := sys.modules.get(name)) is not None)


def _is_importable(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True
