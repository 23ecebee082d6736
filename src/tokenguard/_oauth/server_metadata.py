"""Authorization server metadata (RFC 8414, OpenID Connect Discovery): its URLs, the values that are accepted."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from tokenguard._jose import strict_json
from tokenguard._settings import is_fetchable, is_https

_OAUTH: Final = "/.well-known/oauth-authorization-server"
_OIDC: Final = "/.well-known/openid-configuration"


def places(issuer: str) -> tuple[str, ...]:
    """The URLs to try, in order, each once: RFC 8414 inserted, OIDC inserted, OIDC suffix, RFC 8414 suffix.

    A final slash of the issuer is left out of them (RFC 8414 section 3.1), never of the comparison.
    """
    parts = urlsplit(issuer)
    path = parts.path.removesuffix("/")
    paths = (_OAUTH + path, _OIDC + path, path + _OIDC, path + _OAUTH)
    return tuple(dict.fromkeys(urlunsplit((parts.scheme, parts.netloc, place, "", "")) for place in paths))


def read(status: int, body: bytes, issuer: str) -> dict[str, Any] | None:
    """The metadata in an answer, None unless it is a JSON object with this very issuer (RFC 8414 section 3.3)."""
    if status != 200:
        return None
    try:
        document = strict_json.parse_object(body)
    except ValueError:
        return None
    return document if document.get("issuer") == issuer else None


def is_same_host(url: str, issuer: str) -> bool:
    """Whether `url` is on the host of `issuer`, on whatever port."""
    return urlsplit(url).hostname == urlsplit(issuer).hostname


def endpoint(
    document: dict[str, Any], name: str, issuer: str, *, allow_insecure_http: bool, mtls: bool = False
) -> str | None:
    """An endpoint of the metadata, if it may be used: https, or http if the issuer is http and the setting allows it.
    It may be on another host. `mtls`: the endpoint for clients with a certificate, if there is one (RFC 8705 section
    5)."""
    aliases = document.get("mtls_endpoint_aliases") if mtls else None
    url = aliases[name] if isinstance(aliases, dict) and name in aliases else document.get(name)
    allow_http = allow_insecure_http and not is_https(issuer)
    return url if isinstance(url, str) and is_fetchable(url, allow_http=allow_http) else None
