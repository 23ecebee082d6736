"""Traefik: `forwardAuth`.

Owns: the texts of `traefik.yml` and `tokenguard.yml`. Must not know: how values are checked (`plan`).

Traefik keeps what starts the process apart from what routes requests, so there are two files.
"""

from __future__ import annotations

from typing import Final

from tokenguard.errors import ConfigurationError
from tokenguard.gateway.proxies.plan import Plan, fill, quoted

__all__ = ["MAIN", "files"]

MAIN: Final = "traefik.yml"
_ROUTING: Final = "tokenguard.yml"

_STATIC: Final = """
# Traefik 3.7.13 or later, in front of <<upstream>>; tokenguard at <<gateway>> gives the verdicts.
#   traefik --configFile=<<directory>>traefik.yml

global:
  checkNewVersion: false
  sendAnonymousUsage: false
log:
  level: ERROR
entryPoints:
  api:
    address: "<<listen>>"
    forwardedHeaders:
      insecure: false
    http:
      # Without it X_Token_Subject and X.Token.Subject of a client reach the API beside X-Token-Subject.
      aliasHeadersStrategy: reject
providers:
  file:
    filename: "<<directory>>tokenguard.yml"
    watch: false
"""

_DYNAMIC: Final = """
# What <<directory>>traefik.yml routes by.

http:
  routers:
    api:
      entryPoints: [api]
      rule: "PathPrefix(`/`)"
      middlewares: [tokenguard]
      service: api
<<metadata_router>>  middlewares:
    tokenguard:
      forwardAuth:
        address: "http://<<gateway>>/auth"
        trustForwardHeader: false
        authRequestHeaders: [Authorization]
        authResponseHeaders: [<<claims>>]
        maxResponseBodySize: 65536
  services:
    api:
      loadBalancer:
        passHostHeader: true
        servers:
          - url: "http://<<upstream>>"
<<metadata_service>>"""

_METADATA_ROUTER: Final = """
    metadata: # needs no token (RFC 9728)
      entryPoints: [api]
      rule: "Path(`<<path>>`)"
      priority: 1000
      service: tokenguard
"""
_METADATA_SERVICE: Final = """
    tokenguard:
      loadBalancer:
        servers:
          - url: "http://<<gateway>>"
"""


def files(plan: Plan) -> dict[str, str]:
    """The files by their names, the main one last. Raises `ConfigurationError`."""
    if plan.client_address is not None and plan.client_address.lower() != "x-forwarded-for":
        raise ConfigurationError(
            "Traefik sends its client's address in X-Forwarded-For only: client_address must be that"
        )
    static = fill(_STATIC, listen=plan.listen, gateway=plan.gateway, upstream=plan.upstream, directory=plan.prefix)
    dynamic = fill(
        _DYNAMIC,
        gateway=plan.gateway,
        upstream=plan.upstream,
        directory=plan.prefix,
        claims=quoted(plan.claims),
        metadata_router="" if plan.metadata is None else fill(_METADATA_ROUTER, path=plan.metadata),
        metadata_service="" if plan.metadata is None else fill(_METADATA_SERVICE, gateway=plan.gateway),
    )
    return {_ROUTING: dynamic, MAIN: static}
