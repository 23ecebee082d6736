"""What OpenAPI says of a guarded route: how a caller gets a token, and the answers of a rejected request.

Owns: the security scheme for each value of `openapi`, `REFUSALS`. Must not know: requests, verdicts, how FastAPI makes
the document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from fastapi.openapi import models
from fastapi.security.base import SecurityBase

from tokenguard.errors import ConfigurationError
from tokenguard.issuer import Issuer

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

OpenAPI: TypeAlias = Literal["bearer", "openid_connect"] | models.SecurityBase

_WRITE: Final = (
    'openapi must be "bearer", "openid_connect", or a model of fastapi.openapi.models, such as'
    " OAuth2(flows=OAuthFlows(authorizationCode=OAuthFlowAuthorizationCode(authorizationUrl=..., tokenUrl=...)))"
)
_ONE_ISSUER: Final = (
    'openapi="openid_connect" needs a validator with one issuer whose metadata can be fetched: write'
    ' openapi=OpenIdConnect(openIdConnectUrl="https://auth.example.com/.well-known/openid-configuration")'
)


def security_scheme(
    openapi: OpenAPI, validator: TokenValidator, *, header: str | None, description: str | None
) -> models.SecurityBase:
    """The security scheme object (OpenAPI 3.1 section 4.8.27). Raises `ConfigurationError`."""
    if isinstance(openapi, SecurityBase):  # not a model, but FastAPI's own dependency around one
        raise ConfigurationError("openapi must be the model of that FastAPI dependency: write openapi=....model")
    if isinstance(openapi, models.SecurityBase):
        scheme = openapi
    elif not isinstance(openapi, str) or openapi not in ("bearer", "openid_connect"):
        raise ConfigurationError(_WRITE)
    elif openapi == "openid_connect":
        scheme = models.OpenIdConnect(openIdConnectUrl=_metadata_url(validator))
    elif header is not None:
        scheme = models.APIKey.model_validate({"in": "header", "name": header})
    else:
        scheme = models.HTTPBearer()
    if header is not None and not isinstance(scheme, models.APIKey):
        raise ConfigurationError(
            "header and openapi exclude each other: Swagger sends tokens in Authorization, which is not read then"
        )
    return scheme if description is None else scheme.model_copy(update={"description": description})


def _metadata_url(validator: TokenValidator) -> str:
    """Where OpenID Connect has the metadata of the only issuer (Discovery 1.0 section 4)."""
    issuers = getattr(validator, "issuers", ())  # something that replaces a validator has none
    issuer = issuers[0] if isinstance(issuers, tuple) and len(issuers) == 1 else None
    if not isinstance(issuer, Issuer) or issuer.static_keys is not None:
        raise ConfigurationError(_ONE_ISSUER)
    try:
        issuer.check_discoverable()
    except ConfigurationError:
        raise ConfigurationError(_ONE_ISSUER) from None
    return f"{issuer.url.removesuffix('/')}/.well-known/openid-configuration"


_TEXT: Final = {"type": "string"}
_ERROR: Final = {"error": _TEXT, "error_description": _TEXT}  # RFC 6750 section 3
_CHALLENGE: Final = {
    "WWW-Authenticate": {
        "description": "The challenge (RFC 6750 section 3)",
        "required": True,
        "schema": _TEXT | {"examples": ['Bearer realm="api"']},
    }
}
_NONCE: Final = {
    "DPoP-Nonce": {
        "description": "For the next proof, where the API asks for nonces (RFC 9449 section 9)",
        "required": False,
        "schema": _TEXT,
    }
}
_RETRY: Final = {
    "Retry-After": {
        "description": "Seconds until another attempt makes sense (RFC 9110 section 10.2.3)",
        "required": True,
        "schema": {"type": "string", "pattern": "^[1-9][0-9]*$"},
    }
}


def _refusal(
    status: int,
    title: str,
    description: str,
    members: dict[str, Any],
    required: tuple[str, ...],
    headers: dict[str, Any],
) -> dict[str, Any]:
    """An OpenAPI response object with a problem document (RFC 9457 section 3.1)."""
    properties = {
        "type": _TEXT | {"const": "about:blank"},
        "title": _TEXT | {"const": title},
        "status": {"type": "integer", "const": status},
        "detail": _TEXT,
        **members,
    }
    schema = {
        "type": "object",
        "title": "Problem",
        "properties": properties,
        "required": ["type", "title", "status", "detail", *required],
    }
    no_store = {"Cache-Control": {"required": True, "schema": _TEXT | {"const": "no-store"}}}
    return {
        "description": description,
        "headers": {**headers, **no_store},
        "content": {"application/problem+json": {"schema": schema}},
    }


REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: _refusal(
        400,
        "Bad Request",
        "The credentials are malformed, or there are several",
        _ERROR | {"reason": _TEXT},
        ("error", "error_description"),
        _CHALLENGE,
    ),
    401: _refusal(
        401,
        "Unauthorized",
        "There is no access token, or it is not good",
        _ERROR
        | {
            "acr_values": _TEXT | {"description": "How the subject must sign in (RFC 9470 section 3)"},
            "max_age": {"type": "integer", "description": "Seconds since the subject signed in, at most"},
            "scope": _TEXT,
            "reason": _TEXT,
        },
        (),
        _CHALLENGE | _NONCE,
    ),
    403: _refusal(
        403,
        "Forbidden",
        "The access token is valid, but not sufficient",
        _ERROR | {"scope": _TEXT | {"description": "Every scope that is required"}, "reason": _TEXT},
        ("error", "error_description"),
        _CHALLENGE,
    ),
    503: _refusal(
        503,
        "Service Unavailable",
        "It is not known whether the access token is valid",
        {},
        (),
        _RETRY,
    ),
}
"""For `responses=` of a FastAPI app, router or route: the answers of `BearerToken` with `add_error_handler` (400, 401,
403, 503), each a problem document with its header fields. `{**REFUSALS, 404: {...}}` adds others."""
