"""tokenguard: decides, on every request, whether an OAuth 2.0 access token may pass.

The public names. Adapters are imported from their modules: `tokenguard.asgi`, `.starlette`, `.fastapi`, `.wsgi`,
`.flask`.
"""

from tokenguard.errors import (
    ConfigurationError,
    InsufficientAuthenticationError,
    InsufficientScopeError,
    IntrospectionUnavailableError,
    InvalidProofError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
    NonceRequiredError,
    Reason,
    RejectedError,
    TokenGuardError,
    TokenRefusedError,
    TokenUnavailableError,
    UnavailableError,
)
from tokenguard.introspection import Introspection
from tokenguard.issuer import Issuer
from tokenguard.issuers import Issuers
from tokenguard.request import ResourceRequest
from tokenguard.resource import DPoP, MutualTLS, ResourceMetadata
from tokenguard.revocations import RevocationList
from tokenguard.secret_file import SecretFile
from tokenguard.token import AccessToken
from tokenguard.validator import IssuerState, KeyState, TokenValidator

__all__ = [
    "AccessToken",
    "ConfigurationError",
    "DPoP",
    "InsufficientAuthenticationError",
    "InsufficientScopeError",
    "Introspection",
    "IntrospectionUnavailableError",
    "InvalidProofError",
    "InvalidRequestError",
    "InvalidTokenError",
    "Issuer",
    "IssuerState",
    "Issuers",
    "KeyState",
    "KeysUnavailableError",
    "MissingTokenError",
    "MutualTLS",
    "NonceRequiredError",
    "Reason",
    "RejectedError",
    "ResourceMetadata",
    "ResourceRequest",
    "RevocationList",
    "SecretFile",
    "TokenGuardError",
    "TokenRefusedError",
    "TokenUnavailableError",
    "TokenValidator",
    "UnavailableError",
]
