"""What a printed proxy configuration is made from.

Owns: addresses, header names and directories that are safe to write into a configuration. Must not know: any proxy's
syntax.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenguard.challenge import Rejection, reject
from tokenguard.errors import ConfigurationError, InvalidRequestError, KeysUnavailableError

__all__ = ["Address", "Plan", "fill", "quoted"]

_NAME: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z](?:[A-Za-z0-9\-]*[A-Za-z0-9])?"
)
_LONGEST_NAME: Final = 253
_IN_BRACKETS: Final = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\]")
_PORT: Final = re.compile(r"[0-9]{1,5}")
# Fewer characters than a field name may have (RFC 9110 section 5.6.2): what every proxy and every backend reads alike.
_FIELD: Final = re.compile(r"[A-Za-z](?:-?[A-Za-z0-9])*")
_DIRECTORY: Final = re.compile(r"[A-Za-z0-9_./+@ ~:,=\-]+")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~/\-]+")
_PLACE: Final = re.compile(r"<<([a-z_]+)>>")

_CLIENT: Final = "x-forwarded-for"

# What a proxy decides by, or writes itself: a claim in one of these would change what is asked or where it goes.
_TAKEN: Final = frozenset({
    "authorization", "connection", "content-length", "content-type", "cookie", "expect", "forwarded", "host",
    "keep-alive", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade",
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-method", "x-forwarded-proto", "x-forwarded-uri",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, each checked. `host` has no brackets."""

    host: str
    port: int

    @classmethod
    def read(cls, option: str, text: str) -> Address:
        """`HOST:PORT`: a name, an IPv4 address, or an IPv6 address in brackets. Raises `ConfigurationError`."""
        host, colon, port = text.rpartition(":")
        if colon and _PORT.fullmatch(port) and 1 <= int(port) <= 65_535 and (known := _host(host)) is not None:
            return cls(known, int(port))
        raise ConfigurationError(f"{option} must be HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080")

    @property
    def is_literal(self) -> bool:
        """Whether the host is an address and not a name."""
        return ":" in self.host or _ends_in_a_number(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A proxy between clients and one API.

    - `listen`: where the proxy takes requests
    - `gateway`: where `tokenguard gateway` answers
    - `upstream`: the API
    - `claims`: the header fields that the gateway answers with, in order
    - `realm`, `resource_metadata`: of the gateway, for what a proxy has to reject by itself
    - `client_address`: the header field in which the gateway reads the client's address, or None. `X-Forwarded-For`
      is one that every proxy here can set
    - `metadata`: the path at which the gateway serves the resource's metadata (RFC 9728), or None; it needs no token
    - `directory`: where the files are written; None where they are printed
    """

    listen: Address
    gateway: Address
    upstream: Address
    claims: tuple[str, ...]
    realm: str | None = None
    client_address: str | None = None
    metadata: str | None = None
    directory: Path | None = None

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for name in (*self.claims, *([] if self.client_address is None else [self.client_address])):
            is_taken = name.lower() in _TAKEN and (name in self.claims or name.lower() != _CLIENT)
            if _FIELD.fullmatch(name) is None or is_taken or name.lower() in seen:
                raise ConfigurationError(
                    "a configuration can be printed for header names of letters, digits and single dashes only, each"
                    " once, none that a proxy itself decides by, such as X-Token-Subject"
                )
            seen.add(name.lower())
        if self.metadata is not None and _PATH.fullmatch(self.metadata) is None:
            raise ConfigurationError(
                "a configuration can be printed for a resource whose path is letters, digits and . _ ~ - / only"
            )
        if self.directory is not None and _DIRECTORY.fullmatch(str(self.directory)) is None:
            raise ConfigurationError(
                "the directory of --into must be letters, digits and . _ - + @ ~ : , = only, as its name becomes a"
                " part of the configuration"
            )

    @property
    def prefix(self) -> str:
        """What the name of a file in `directory` begins with; empty where there is none."""
        return "" if self.directory is None else f"{self.directory}/"

    @property
    def claim_prefix(self) -> str:
        """What all claim fields begin with, such as `X-Token-`; empty unless it has at least two words."""
        words = [name.lower().split("-")[:-1] for name in self.claims]
        shared: list[str] = []
        for column in zip(*words, strict=False):
            if len(set(column)) > 1:
                break
            shared.append(column[0])
        return "-".join([*(word.capitalize() for word in shared), ""]) if len(shared) > 1 else ""

    @property
    def other_spellings(self) -> tuple[str, ...]:
        """A regular expression for each claim field, which matches it in lower case and in every other spelling."""
        return tuple("^" + "[^a-z0-9]".join(name.lower().split("-")) + "$" for name in self.claims)

    @property
    def bad_request(self) -> Rejection:
        """The answer to a request that the proxy itself cannot read."""
        return reject(InvalidRequestError(), realm=self.realm)

    @property
    def unavailable(self) -> Rejection:
        """The answer where the gateway gives none."""
        return reject(KeysUnavailableError(retry_after=1))


def fill(template: str, **values: str | int | Address) -> str:
    """`template` with each `<<name>>` replaced. Every place has a value and every value a place."""
    names = set(_PLACE.findall(template))
    if names != set(values):
        raise ValueError(f"the template and its values differ: {sorted(names ^ set(values))}")
    return _PLACE.sub(lambda found: str(values[found[1]]), template).lstrip("\n")


def quoted(texts: Iterable[str], between: str = ", ") -> str:
    """Each in double quotes. For texts that need no escape."""
    return between.join(f'"{text}"' for text in texts)


def _ends_in_a_number(host: str) -> bool:
    """Whether a host without a colon is an IPv4 address and not a name."""
    return host.rpartition(".")[2].isdigit()


def _host(text: str) -> str | None:
    inside = _IN_BRACKETS.fullmatch(text)
    try:
        if inside is not None:
            return str(ipaddress.IPv6Address(inside[1]))
        if _ends_in_a_number(text):
            return str(ipaddress.IPv4Address(text))
    except ValueError:
        return None
    return text if len(text) <= _LONGEST_NAME and _NAME.fullmatch(text) else None
