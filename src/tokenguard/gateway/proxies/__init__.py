"""Configurations of the proxies that ask the gateway, printed so that they run.

Owns: which proxies there are. Must not know: the syntax of any of them, the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from tokenguard.gateway.proxies import caddy, envoy, haproxy, nginx, traefik
from tokenguard.gateway.proxies.plan import Address, Plan

__all__ = ["PROXIES", "Address", "Plan"]

# The files of a plan by their names, the main one last.
PROXIES: Final[Mapping[str, Callable[[Plan], dict[str, str]]]] = MappingProxyType({
    "nginx": nginx.files,
    "caddy": caddy.files,
    "traefik": traefik.files,
    "envoy": envoy.files,
    "haproxy": haproxy.files,
})  # fmt: skip
