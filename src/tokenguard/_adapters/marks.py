"""What a decorated view is marked with: what it requires, for whatever looks through an app's routes.

Owns: the attributes that hold it. Must not know: any framework, how routes are found.
"""

from __future__ import annotations

from typing import Final

from tokenguard._adapters.public_paths import PublicPaths
from tokenguard.requirements import Requirement

_MARK: Final = "__tokenguard_required__"  # survives functools.wraps
_PUBLIC: Final = "__tokenguard_public__"  # beside the mark of a function that guards others


def mark(view: object, required: Requirement, public: PublicPaths | None = None) -> None:
    """Record what a decorated view requires, `OPTIONAL` where a request without a token passes.

    Set by every decorator, beside what the view is marked with already; read by `marks`, however often it is wrapped.
    Each mark stands under a name of its own as well: Django's `method_decorator` copies the attributes of several
    decorators, and of those with one name the last one stays. `public`: the paths for which a function that guards
    others asks for nothing.
    """
    setattr(view, _MARK, (*marks(view), required))
    setattr(view, f"{_MARK}{id(required)}", required)
    if public is not None:
        setattr(view, _PUBLIC, public.entries)


def marks(view: object) -> tuple[Requirement, ...]:
    """What `view` asks for, one entry for each decorator, the innermost first; () where nothing guards it."""
    found: tuple[Requirement, ...] = getattr(view, _MARK, ())
    if not found:
        return ()
    named = [one for name, one in getattr(view, "__dict__", {}).items() if name.startswith(_MARK) and name != _MARK]
    return (*found, *[one for one in named if one not in found])


def public_of(view: object) -> tuple[str, ...]:
    """The paths for which `view`, a function that guards others, asks for nothing."""
    found: tuple[str, ...] = getattr(view, _PUBLIC, ())
    return found
