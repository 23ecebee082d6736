"""Flask: an extension, a decorator for views, and the current token.

Views, sync and async alike, are guarded by `validate`: Flask runs each async view in an event loop of its own that ends
with the view, and a refresh of keys or a connection pool must not end with it. An async view's token is validated in a
worker thread, so that no loop is ever blocked.

Owns: the public names. Must not know: how they work (see `extension`, `views`, `current`).
"""

from __future__ import annotations

from tokenguard.flask.current import current_token
from tokenguard.flask.extension import TokenGuard
from tokenguard.flask.views import require, require_scope

__all__ = ["TokenGuard", "current_token", "require", "require_scope"]
