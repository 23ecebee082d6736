"""A token that a framework hands over by itself, without the request that brought it.

Owns: `BareTokenReader`, for which a request is a token and nothing else. Must not know: any framework.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenguard._oauth.credential import PREFIX


class BareTokenReader:
    """Reads texts that followed `Bearer ` in a request that is not available. Observers see no method and no path."""

    __slots__ = ()
    takes_schemes = True

    def credentials(self, token: str, /) -> tuple[Sequence[bytes], str]:
        """See `Reader`."""
        return (f"{PREFIX}{token}".encode("latin-1", "replace"),), ""

    def route(self, _token: str, /) -> None:
        """See `Reader`. Nothing is public."""

    def method(self, _token: str, /) -> str:
        """See `Reader`."""
        return ""

    def path(self, _token: str, /, longest: int | None = None) -> str:  # noqa: ARG002
        """See `Reader`."""
        return ""

    def header(self, _token: str, _name: str, /) -> None:
        """See `Reader`."""

    def headers(self, _token: str, /) -> list[tuple[str, str]]:
        """See `Reader`."""
        return []

    def fields(self, _token: str, _name: str, /) -> list[str]:
        """See `Reader`."""
        return []

    def certificate(self, _token: str, /) -> None:
        """See `Reader`. So a token that is bound to a certificate is rejected."""

    def kept(self, _token: str, _key: str, /) -> None:
        """See `Reader`."""

    def keep(self, _token: str, _key: str, _value: object, /) -> None:
        """See `Reader`."""

    def address(self, _token: str, /) -> None:
        """See `Reader`."""

    def sent(self, token: str, longest: int, /) -> str:
        """See `Reader`."""
        return f"{PREFIX}{token}"[:longest]
