"""What a decorator asks for behind an adapter: of the token that the adapter has left, else of the request itself.

Owns: which of the two it is; what is asked where no adapter is in front. Must not know: any framework, how a rejection
is written. A request is a mapping here, as ASGI scopes and aiohttp's requests are.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from tokenguard._adapters.asgi_scopes import AsgiReader
from tokenguard._adapters.caller import Caller
from tokenguard._adapters.guard import GUARD_KEY, TOKEN_KEY, Guard
from tokenguard.errors import ConfigurationError
from tokenguard.requirements import Requirement
from tokenguard.token import AccessToken

UNGUARDED: Final = Guard[Any]("unguarded", AsgiReader(), None)


class Request(Protocol):
    """What an adapter has left its guard and its token in."""

    def get(self, key: str, /) -> Any: ...


def guard_of(request: Request) -> Guard[Any]:
    """The guard in front of `request`, `UNGUARDED` where there is none."""
    found = request.get(GUARD_KEY)
    return found if isinstance(found, Guard) else UNGUARDED


def still_to_ask(request: Request, required: Requirement, *, name: str, missing: str) -> Guard[Any] | None:
    """The guard that has yet to validate `request`; None where its token was validated before, and meets `required`.
    One that came with a proof was validated for this method and path alone, which something between may have changed.

    The guard takes no path for public: nobody has looked at the credentials of a public path. `name` is the
    decorator's adapter. Raises `TokenGuardError`, noted: `ConfigurationError(missing)` where no guard is in front.
    """
    guard = request.get(GUARD_KEY)
    if not isinstance(guard, Guard):
        error = ConfigurationError(missing)
        UNGUARDED.note(request, None, error, required, name=name)
        raise error
    before = request.get(TOKEN_KEY)
    if before is None or (guard.dpop is not None and not guard.stands(request, before)):
        return guard.behind
    guard.check(request, before, required, name=name)
    return None


def leave(scope: Any, token: AccessToken | None) -> None:
    """Leave a token that was found behind the middleware where that leaves its own: in the scope, and in its caller."""
    before, scope[TOKEN_KEY] = scope.get(TOKEN_KEY), token
    if token is before:
        return  # the middleware's caller has it
    caller = Caller()  # a new one: other copies of this scope share the middleware's
    caller.access_token = token
    for name in ("user", "auth"):
        if isinstance(scope.get(name), Caller):  # another one's is not ours to replace
            scope[name] = caller
