"""The caller of a request in the form that Starlette and what is made of it know.

Owns: `Caller`. Must not know: Starlette by import, how a token got here.
"""

from __future__ import annotations

from tokenguard.token import AccessToken


class Caller:
    """What Starlette expects at `request.user` and `request.auth`, without importing it.

    `access_token` is the validated token, or None. `scopes` are the token's.
    """

    __slots__ = ("access_token",)
    access_token: AccessToken | None  # set by the middleware: a constructor would take twice as long as this object

    @property
    def is_authenticated(self) -> bool:
        """Whether there is a token."""
        return self.access_token is not None

    @property
    def display_name(self) -> str:
        """The subject, else the client, else nothing."""
        token = self.access_token
        return "" if token is None else token.subject or token.client_id or ""

    @property
    def identity(self) -> str:
        """The same as `display_name`."""
        return self.display_name

    @property
    def scopes(self) -> list[str]:
        """What the token grants. Asked for `authenticated`, as Starlette's pages do, there is one where there is a
        token."""
        return [] if self.access_token is None else _Scopes(sorted(self.access_token.scopes))


class _Scopes(list[str]):
    __slots__ = ()

    def __contains__(self, scope: object) -> bool:
        return scope == "authenticated" or super().__contains__(scope)
