"""tokenguard: decides, on every request, whether an OAuth 2.0 access token may pass.

The public names. Adapters are imported from their modules: `tokenguard.asgi`, `.starlette`, `.fastapi`, `.wsgi`,
`.flask`.
"""

from tokenguard.errors import (
    ConfigurationError,
    InsufficientAuthenticationError,
    InsufficientScopeError,
    IntrospectionUnavailableError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
    Reason,
    RejectedError,
    TokenGuardError,
    TokenRefusedError,
    TokenUnavailableError,
    UnavailableError,
)
from tokenguard.introspection import Introspection
from tokenguard.issuer import Issuer
from tokenguard.request import ResourceRequest
from tokenguard.revocations import RevocationList
from tokenguard.secret_file import SecretFile
from tokenguard.token import AccessToken
from tokenguard.validator import IssuerState, KeyState, TokenValidator

__all__ = [
    "AccessToken",
    "ConfigurationError",
    "InsufficientAuthenticationError",
    "InsufficientScopeError",
    "Introspection",
    "IntrospectionUnavailableError",
    "InvalidRequestError",
    "InvalidTokenError",
    "Issuer",
    "IssuerState",
    "KeyState",
    "KeysUnavailableError",
    "MissingTokenError",
    "Reason",
    "RejectedError",
    "ResourceRequest",
    "RevocationList",
    "SecretFile",
    "TokenGuardError",
    "TokenRefusedError",
    "TokenUnavailableError",
    "TokenValidator",
    "UnavailableError",
]
