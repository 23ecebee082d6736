"""Checks of settings. Each error says what to write instead; no value is quoted, since it may hold a secret."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from math import isfinite
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from tokenguard.errors import ConfigurationError

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


def number(name: str, value: object, *, minimum: float = 0, above: bool = False) -> float:
    """A finite int or float (no bool), at least `minimum`, or more than it if `above`."""
    try:
        finite = type(value) in (int, float) and isfinite(value)  # type: ignore[arg-type]
    except OverflowError:  # an int that no float can hold
        finite = False
    if not finite:
        raise ConfigurationError(f"{name} must be a finite number")
    if value < minimum or (above and value == minimum):  # type: ignore[operator]
        raise ConfigurationError(f"{name} must be {'more than' if above else 'at least'} {minimum}")
    return value  # type: ignore[return-value]


def whole(name: str, value: object, *, minimum: int = 0) -> int:
    """An int (no bool), at least `minimum`."""
    if type(value) is not int or value < minimum:
        raise ConfigurationError(f"{name} must be a whole number, at least {minimum}")
    return value


def switch(name: str, value: object) -> bool:
    """True or False and nothing else: the string "false" would turn it on."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False")
    return value


def is_lazy(function: Any) -> bool:
    """Whether calling `function` would only start it: a coroutine or generator function, also as `__call__`."""
    return any(
        inspect.iscoroutinefunction(one) or inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one)
        for one in (inspect.unwrap(function), getattr(function, "__call__", None))  # noqa: B004 - the method itself
    )


_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)  # a token, RFC 9110 section 5.6.2


# Fields that hold no token of a gateway's and no certificate of a proxy's: their values mean something else, or are the
# client's to write.
TAKEN_FIELDS = frozenset({"authorization", "cookie", "dpop", "host"})


def is_field_name(value: object) -> bool:
    """Whether `value` can be the name of a header field (RFC 9110 section 5.1) or a subprotocol (RFC 6455 section
    4.1)."""
    return isinstance(value, str) and _FIELD_NAME.fullmatch(value) is not None


def strings(name: str, value: object, *, example: str) -> tuple[str, ...]:
    """A non-empty string, or a non-empty iterable of such; in order, each once."""
    items: list[object]
    if isinstance(value, str):
        items = [value]
    elif isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        items = list(value)
    else:
        raise ConfigurationError(f"{name} must be a string or an iterable of strings: write {example}")
    if not items:
        raise ConfigurationError(f"{name} must not be empty: write {example}")
    found: dict[str, None] = {}
    for item in items:
        if not isinstance(item, str) or not item:
            raise ConfigurationError(f"{name} must hold non-empty strings only: write {example}")
        found[item] = None
    return tuple(found)


_UNIX = "unix"
_MAPPED = "::ffff:0:0/96"  # IPv4 in IPv6 (RFC 4291 section 2.5.5.2)


class Peers:
    """Who may be at the other end of a connection: addresses, networks, `"unix"` for a peer without an address."""

    __slots__ = ("_networks", "_takes_unix")

    def __init__(self, name: str, given: Iterable[str]) -> None:
        given = tuple(given)
        self._takes_unix = _UNIX in given
        self._networks = tuple([_network(name, one) for one in given if one != _UNIX])

    def trusts(self, peer: str | None) -> bool:
        """Whether `peer` is among them: its address, None where it has none."""
        if peer is None:
            return self._takes_unix
        from ipaddress import ip_address

        try:
            address: IPv4Address | IPv6Address = ip_address(peer)
        except ValueError:
            return False
        # An IPv4 peer of a socket for both (RFC 4291 section 2.5.5.2).
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)


def _network(name: str, text: str) -> IPv4Network | IPv6Network:
    from ipaddress import IPv6Network, ip_network

    try:
        found = ip_network(text)
        if isinstance(found, IPv6Network) and found.subnet_of(IPv6Network(_MAPPED)):  # as `trusts` reads a peer
            return ip_network((int(found.network_address) & 0xFFFFFFFF, found.prefixlen - 96))
        return found
    except ValueError:
        raise ConfigurationError(
            f'{name} must hold addresses, networks whose host bits are zero, or "unix": ["10.0.0.0/8", "unix"]'
        ) from None


def fetched_url(name: str, value: object) -> str:
    """A URL that can be fetched: http or https, a host, no user information, no fragment, no odd character."""
    parts = _split(value)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{name} must be an https URL such as https://server.example/path")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{name} must not hold user information: remove what is before the @")
    if "#" in str(value):
        raise ConfigurationError(f"{name} must not have a fragment: remove what follows the #")
    return str(value)


def absolute_uri(name: str, value: object) -> str:
    """An absolute URI without fragment (RFC 3986 section 4.3), of any scheme."""
    parts = _split(value)
    if parts is None or not parts.scheme or not (parts.netloc or parts.path) or "#" in str(value):
        raise ConfigurationError(f"{name} must be an absolute URI without fragment, such as https://api.example.com/")
    return str(value)


def is_fetchable(value: object, *, allow_http: bool) -> bool:
    """Whether a URL from a server's metadata may be fetched: the rules of `fetched_url`, and https unless
    `allow_http`."""
    try:
        url = fetched_url("url", value)
    except ConfigurationError:
        return False
    return allow_http or is_https(url)


def is_https(url: str) -> bool:
    return url[:8].lower() == "https://"


def _split(value: object) -> SplitResult | None:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value or "\\" in value:
        return None
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for a port that is no number
    except ValueError:
        return None
    return parts
