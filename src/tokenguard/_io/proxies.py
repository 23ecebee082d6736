"""Proxies of the environment, one entry at a time: which can be used, and which hosts need none.

Owns: reading `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` as httpx does, rejecting entries that cannot be
used. Must not know: what is fetched. httpx itself reads all entries or fails: one bad entry would stop every client.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final, NoReturn
from urllib.request import getproxies

from tokenguard._flow.effects import PROXY_SETTING, ExchangeError
from tokenguard._io.libraries import preferred
from tokenguard.errors import ConfigurationError

_log = logging.getLogger("tokenguard")

_EXAMPLE: Final = "write a URL such as http://proxy.example.com:3128"
_NO_SOCKS: Final = "a SOCKS proxy needs the package socksio: pip install 'httpx[socks]'"


class _Unusable:
    """Replaces a proxy that cannot be used: every request to a host behind it fails."""

    def handle_request(self, request: Any) -> NoReturn:  # noqa: ARG002 - the interface of a transport
        raise ExchangeError(PROXY_SETTING, ends_attempt=True)

    async def handle_async_request(self, request: Any) -> NoReturn:
        self.handle_request(request)

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxy settings of the environment. Patterns are httpx's: `all://`, `https://`, `all://*example.com`.

    `urls`: the proxy of each scheme that has one. `faults`: for proxies that cannot be used, what to do about it.
    `exempt`: hosts without a proxy. `unread`: entries of `NO_PROXY` that cannot be read.
    """

    urls: dict[str, str]
    faults: dict[str, str]
    exempt: tuple[str, ...]
    unread: tuple[str, ...]

    def mounts(self, transport: Callable[..., Any]) -> dict[str, Any]:
        """The `mounts` of an httpx client that uses these proxies. `transport(proxy=...)` makes a transport for one."""
        ways = {key: _Unusable() if key in self.faults else transport(proxy=url) for key, url in self.urls.items()}
        return {**ways, **dict.fromkeys(self.exempt)}

    def exempts(self, url: str) -> bool:
        """Whether `NO_PROXY` exempts `url` from the proxy, as httpx itself decides."""
        library = preferred()
        elsewhere = library.MockTransport(lambda _: library.Response(407))
        here = library.MockTransport(lambda _: library.Response(204))
        mounts = {"all://": elsewhere, **dict.fromkeys(self.exempt)}
        with library.Client(transport=here, mounts=mounts, trust_env=False) as client:
            return bool(client.get(url).status_code == 204)


def read() -> Proxies:
    """The environment as it is now."""
    found = getproxies()  # as httpx; on macOS and Windows it may be the system's settings
    return _read(found.get("http"), found.get("https"), found.get("all"), found.get("no"))


def check(asked: Iterable[str]) -> None:
    """Reject proxies that cannot be used, unless `NO_PROXY` exempts all URLs in `asked`; log the entries of `NO_PROXY`
    that are left out.

    Raises `ConfigurationError` naming the variable. No value is quoted: it may hold a password.
    """
    found, urls = read(), tuple(asked)
    for entry in found.unread:
        with suppress(Exception):  # a broken log handler is no setting
            _log.warning("an entry of NO_PROXY cannot be read and is left out: %.128r", entry)
    if found.faults and not (urls and all(map(found.exempts, urls))):
        scheme, fault = next(iter(found.faults.items()))
        raise ConfigurationError(
            f"{_variable(scheme, found.urls[scheme])} names a proxy that cannot be used: {fault}; or unset it, or"
            " exempt every host that is asked by NO_PROXY"
        )


@lru_cache(maxsize=4)
def _read(http: str | None, https: str | None, any_scheme: str | None, none: str | None) -> Proxies:
    given = {"http://": http, "https://": https, "all://": any_scheme}
    urls = {key: url if "://" in url else f"http://{url}" for key, url in given.items() if url}
    entries = [entry for entry in map(str.strip, (none or "").split(",")) if entry]
    if "*" in entries:
        return Proxies({}, {}, (), ())
    exempt: dict[str, None] = {}
    unread: dict[str, None] = {}
    for entry in entries:
        pattern = _pattern(entry)
        try:
            preferred().Client(transport=_Unusable(), mounts={pattern: None}, trust_env=False).close()
        except Exception:  # noqa: BLE001 - httpx raises several, and any of them would stop a client
            unread[entry] = None
        else:
            exempt[pattern] = None
    faults = {key: fault for key, url in urls.items() if (fault := _fault(url))}
    return Proxies(urls, faults, tuple(exempt), tuple(unread))


def _pattern(entry: str) -> str:
    """An entry of `NO_PROXY` as httpx reads it: a name includes its subdomains, an address is that address alone."""
    if "://" in entry:
        return entry
    try:
        address = ip_address(entry.split("/", maxsplit=1)[0])
    except ValueError:
        return f"all://{entry}" if entry.lower() == "localhost" else f"all://*{entry}"
    return f"all://{entry}" if address.version == 4 else f"all://[{entry}]"


def _fault(url: str) -> str:
    """For a proxy that cannot be used, what to do about it; empty for any other."""
    try:
        proxy = preferred().Proxy(url)
        preferred().HTTPTransport(verify=False, proxy=proxy).close()
    except ImportError:
        return _NO_SOCKS
    except Exception:  # noqa: BLE001 - httpx raises several
        return _EXAMPLE
    port = proxy.url.port
    is_usable = proxy.url.host and "%" not in proxy.url.host and (port is None or 0 < port < 65_536)
    return "" if is_usable else _EXAMPLE


def _variable(scheme: str, url: str) -> str:
    """The name of the variable with this proxy. Both spellings are read, the one in lower case first."""
    name = scheme.removesuffix("://") + "_proxy"
    spellings = [one for one in os.environ if one.lower() == name and url.endswith(os.environ[one] or " ")]
    return max(spellings, default="the proxy setting of the system")
