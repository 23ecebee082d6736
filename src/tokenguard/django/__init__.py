"""Django: middleware, a decorator for views, system checks. Settings are one mapping, `TOKENGUARD`.

Owns: the public names. Must not know: how they work (see `middleware`, `views`, `conf`, `checks`).
"""

from __future__ import annotations

from tokenguard.django.middleware import BearerMiddleware
from tokenguard.django.views import require

__all__ = ["BearerMiddleware", "require"]
