"""Observing before guarding: what would a guard have answered? For the time when one replaces another.

Owns: the public names. Must not know: how they work: `asgi` and `wsgi` have one protocol each, `seen` what both share.

These are classes of their own and not a setting of a guard, so that no switch turns a guard off by mistake, and a
search for `Observing` finds every place that guards nothing. They leave nothing in a request: what asks for a token
behind them finds none.
"""

from __future__ import annotations

from tokenguard._adapters.observing import Verdict
from tokenguard.observe.asgi import ObservingAsgiMiddleware
from tokenguard.observe.wsgi import ObservingWsgiMiddleware

__all__ = ["ObservingAsgiMiddleware", "ObservingWsgiMiddleware", "Verdict"]
