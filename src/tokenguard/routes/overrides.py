"""Methods that a class has in place of its framework's: the one that calls a view's handlers, above all.

Owns: which of them run. Must not know: any framework, what guards a method.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from typing import Any


def overriding(kind: type, name: str, frameworks: Sequence[type]) -> tuple[list[Any], bool]:
    """The overrides of a method that run one behind another by `super()`, and whether the framework's own is the last.

    `frameworks`: the classes whose method is the framework's own. What an override calls is known by the names in its
    code; one that calls its base class by name is taken to end there.
    """
    classes = takewhile(lambda one: one not in frameworks, [one for one in kind.__mro__ if name in vars(one)])
    found = [*classes]
    passed = [*takewhile(partial(_calls_super, kind, name), found)]
    return [vars(one)[name] for one in found[: len(passed) + 1]], passed == found


def _calls_super(kind: type, name: str, one: type) -> bool:
    inner = inspect.unwrap(vars(one)[name])  # of decorators; `method_decorator` puts one around an inherited method
    if inner is inspect.unwrap(getattr(super(one, kind), name)):
        return True
    code = getattr(inner, "__code__", None)
    return code is not None and {"super", name} <= {*code.co_names}
