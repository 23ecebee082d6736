"""Protected resource metadata (RFC 9728): where it is, and which members it has.

Owns: the well-known location, the members that this package fills. Must not know: validators, requests.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from tokenguard._settings import fetched_url, is_https
from tokenguard.errors import ConfigurationError

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
# RFC 9728 section 2: what `ResourceMetadata` and a validator say themselves.
FILLED: Final = frozenset(
    {
        "resource",
        "authorization_servers",
        "bearer_methods_supported",
        "scopes_supported",
        "resource_name",
        "resource_documentation",
        "dpop_signing_alg_values_supported",
        "dpop_bound_access_tokens_required",
        "tls_client_certificate_bound_access_tokens",
    }
)


def check_resource(value: object) -> str:
    """A resource identifier: https, or http on a loopback host, without fragment (RFC 9728 section 1.2). Raises
    `ConfigurationError`."""
    resource = fetched_url("resource", value)
    if not is_https(resource) and not _is_loopback(urlsplit(resource).hostname or ""):
        raise ConfigurationError("resource must be https, or http on a loopback host, such as https://api.example.com")
    return resource


def location(resource: str) -> str:
    """The URL of the metadata: the well-known path before that of `resource` (RFC 9728 section 3.1)."""
    parts = urlsplit(resource)
    path = "" if parts.path == "/" else parts.path
    return urlunsplit((parts.scheme, parts.netloc, WELL_KNOWN + path, parts.query, ""))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
