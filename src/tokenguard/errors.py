"""The errors of tokenguard, and `Reason`, the word for the check that failed.

    TokenGuardError
    ├── RejectedError                         the request is rejected; `reason` names the check
    │   ├── MissingTokenError                 401, no credentials
    │   ├── InvalidRequestError               400 invalid_request
    │   ├── InvalidTokenError                 401 invalid_token
    │   ├── InvalidProofError                 401 invalid_dpop_proof
    │   ├── NonceRequiredError                401 use_dpop_nonce
    │   ├── InsufficientScopeError            403 insufficient_scope
    │   └── InsufficientAuthenticationError   401 insufficient_user_authentication
    ├── UnavailableError                      503, it is not known whether the token is valid
    │   ├── KeysUnavailableError              no usable keys
    │   ├── IntrospectionUnavailableError     no answer from introspection or the revocation list
    │   └── TokenUnavailableError             no token for an outbound call
    ├── TokenRefusedError                     500, the authorization server rejects our own request for a token
    └── ConfigurationError                    500, a bad setting

All texts are constants. They never contain a part of a token, a URL or a library's exception, so each may be logged or
shown. `description` is for the client and gives no more detail than the error code; `str(error)` is for the operator:
the failed check and the next step.

Owns: the error tree, the constant texts, the words for rejections. Must not know: how an error becomes an answer
(`challenge`), tokens, keys, frameworks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import partial
from typing import ClassVar, Final

__all__ = [
    "ConfigurationError",
    "InsufficientAuthenticationError",
    "InsufficientScopeError",
    "IntrospectionUnavailableError",
    "InvalidProofError",
    "InvalidRequestError",
    "InvalidTokenError",
    "KeysUnavailableError",
    "MissingTokenError",
    "NonceRequiredError",
    "Reason",
    "RejectedError",
    "TokenGuardError",
    "TokenRefusedError",
    "TokenUnavailableError",
    "UnavailableError",
]


class Reason(StrEnum):
    """The check that failed. For code, logs and metrics; never for the client (RFC 6750 section 3.1)."""

    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    TYPE = "type"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    MISSING_CLAIM = "missing_claim"
    INVALID_CLAIM = "invalid_claim"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    ISSUED_IN_FUTURE = "issued_in_future"
    CLIENT = "client"
    REVOKED = "revoked"
    CONFIRMATION = "confirmation"
    PROOF = "proof"
    PROOF_TARGET = "proof_target"
    PROOF_TIME = "proof_time"
    NONCE = "nonce"
    REPLAY = "replay"
    MISSING = "missing"
    MULTIPLE = "multiple"
    SCOPE = "scope"
    ROLE = "role"
    AUTHENTICATION = "authentication"


_NEXT_STEP = {
    Reason.MALFORMED: "it is not a well-formed signed JWT (RFC 7515); look at what the client sends",
    Reason.ALGORITHM: "its alg is not allowed; let the issuer sign with an allowed algorithm or add it to algorithms",
    Reason.TYPE: "it is another kind of token, not an access token; let the client send its access token",
    Reason.UNKNOWN_KEY: "no single published key fits it; compare its kid with the issuer's key set",
    Reason.SIGNATURE: "its signature does not verify; it was altered or signed by another issuer",
    Reason.ISSUER: "its iss is absent or not a configured issuer; the comparison is exact, a final slash counts",
    Reason.AUDIENCE: "its aud names none of this API's audiences; let the client ask for this API or correct audience",
    Reason.MISSING_CLAIM: "a required claim is absent; let the issuer add it",
    Reason.INVALID_CLAIM: "a claim has a wrong type or value, or an extra check rejected it",
    Reason.EXPIRED: "its exp has passed; let the client fetch a new one, and compare clocks if this is frequent",
    Reason.NOT_YET_VALID: "its nbf is in the future; compare this host's clock with the issuer's",
    Reason.ISSUED_IN_FUTURE: "its iat is in the future; compare this host's clock with the issuer's",
    Reason.CLIENT: "its client is not in the allow-list; add it to clients if it may call this API",
    Reason.REVOKED: "it was revoked, or the introspection endpoint calls it inactive",
    Reason.CONFIRMATION: "it is not bound, or not to the key or certificate that came with it; see DPoP and MutualTLS",
    Reason.PROOF: "its DPoP proof is absent, there twice, malformed or not signed by its own key; look at the client",
    Reason.PROOF_TARGET: "its DPoP proof is for another method, URL or token; compare base_url with what clients call",
    Reason.PROOF_TIME: "its DPoP proof is too old or from the future; compare clocks, or turn nonces on",
    Reason.NONCE: "its DPoP proof has no nonce of ours that is still good; the client gets one and tries again",
    Reason.REPLAY: "its DPoP proof was used before; let the client make one for each request",
    Reason.MISSING: "the request carries none; let the client send Authorization: Bearer",
    Reason.MULTIPLE: "the request carries more than one credential; let the client send exactly one",
    Reason.SCOPE: "it lacks a required scope; let the issuer grant it to this client",
    Reason.ROLE: "it lacks a required role; assign it at the issuer, and compare role_claims with the token",
    Reason.AUTHENTICATION: "its subject signed in too long ago or too weakly; let the client read acr_values, max_age",
}


class TokenGuardError(Exception):
    """Base of everything that tokenguard raises."""


class ConfigurationError(TokenGuardError):
    """A bad setting, or an unexpected exception or value from a callable that the application gave. HTTP: 500."""


class RejectedError(TokenGuardError):
    """The request is rejected.

    `error` is the RFC 6750 section 3.1 code (None if no credentials were sent), `reason` the check that failed,
    `description` the constant text for the client.
    """

    error: ClassVar[str | None] = None
    description: ClassVar[str] = "The request was refused."
    # Here and below, what a subclass of an application's has that does not call this constructor.
    reason: Reason = Reason.INVALID_CLAIM

    def __init__(self, *, reason: Reason) -> None:
        self.reason = Reason(reason)
        super().__init__(f"token rejected ({self.reason.value}): {_NEXT_STEP[self.reason]}")

    def __reduce__(self) -> tuple[Callable[[], RejectedError], tuple[()]]:
        return partial(type(self), reason=self.reason), ()


class MissingTokenError(RejectedError):
    """No bearer credentials at all. HTTP: 401 without an error code (RFC 6750 section 3.1)."""

    description: ClassVar[str] = "An access token is required."
    reason: Reason = Reason.MISSING

    def __init__(self, *, reason: Reason = Reason.MISSING) -> None:
        super().__init__(reason=reason)


class InvalidRequestError(RejectedError):
    """Malformed or repeated credentials. HTTP: 400 invalid_request."""

    error: ClassVar[str | None] = "invalid_request"
    description: ClassVar[str] = "The request must carry exactly one well-formed bearer token."
    reason: Reason = Reason.MALFORMED

    def __init__(self, *, reason: Reason = Reason.MALFORMED) -> None:
        super().__init__(reason=reason)


class InvalidTokenError(RejectedError):
    """The token is not valid for this API. HTTP: 401 invalid_token."""

    error: ClassVar[str | None] = "invalid_token"
    description: ClassVar[str] = "The access token is not valid for this resource."

    def __init__(self, *, reason: Reason = Reason.INVALID_CLAIM) -> None:
        super().__init__(reason=reason)


class InvalidProofError(RejectedError):
    """The DPoP proof is not good for this request (RFC 9449 section 7.1). HTTP: 401 invalid_dpop_proof."""

    error: ClassVar[str | None] = "invalid_dpop_proof"
    description: ClassVar[str] = "The DPoP proof is not valid for this request."
    reason: Reason = Reason.PROOF

    def __init__(self, *, reason: Reason = Reason.PROOF) -> None:
        super().__init__(reason=reason)


class NonceRequiredError(RejectedError):
    """The DPoP proof must carry `nonce`, and the request be sent again (RFC 9449 section 9). HTTP: 401
    use_dpop_nonce."""

    error: ClassVar[str | None] = "use_dpop_nonce"
    description: ClassVar[str] = "The DPoP proof must carry the nonce of this response."
    reason: Reason = Reason.NONCE
    nonce: str = ""

    def __init__(self, nonce: str, *, reason: Reason = Reason.NONCE) -> None:
        super().__init__(reason=reason)
        self.nonce = nonce

    def __reduce__(self) -> tuple[Callable[[], RejectedError], tuple[()]]:
        return partial(type(self), self.nonce, reason=self.reason), ()


class InsufficientScopeError(RejectedError):
    """The token is valid, but lacks a scope or role. HTTP: 403 insufficient_scope. `required`: every required scope."""

    error: ClassVar[str | None] = "insufficient_scope"
    description: ClassVar[str] = "The access token does not carry every required scope."
    reason: Reason = Reason.SCOPE
    required: tuple[str, ...] = ()

    def __init__(self, required: tuple[str, ...] = (), *, reason: Reason = Reason.SCOPE) -> None:
        super().__init__(reason=reason)
        self.required = _names(required)

    def __reduce__(self) -> tuple[Callable[[], RejectedError], tuple[()]]:
        return partial(type(self), self.required, reason=self.reason), ()


class InsufficientAuthenticationError(RejectedError):
    """The token is valid, but its subject must sign in again or by stronger means (RFC 9470). HTTP: 401
    insufficient_user_authentication.

    `acr_values` are the accepted authentication context classes in the order of preference, `max_age` the seconds since
    the sign-in or None, `required` the scopes that the new token must have.
    """

    error: ClassVar[str | None] = "insufficient_user_authentication"
    description: ClassVar[str] = "A different authentication level is required."
    reason: Reason = Reason.AUTHENTICATION
    acr_values: tuple[str, ...] = ()
    max_age: int | None = None
    required: tuple[str, ...] = ()

    def __init__(
        self,
        acr_values: tuple[str, ...] = (),
        max_age: int | None = None,
        required: tuple[str, ...] = (),
        *,
        reason: Reason = Reason.AUTHENTICATION,
    ) -> None:
        super().__init__(reason=reason)
        self.acr_values = _names(acr_values)
        self.max_age = max_age
        self.required = _names(required)

    def __reduce__(self) -> tuple[Callable[[], RejectedError], tuple[()]]:
        return partial(type(self), self.acr_values, self.max_age, self.required, reason=self.reason), ()


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return tuple(given.split() if isinstance(given, str) else given)


class UnavailableError(TokenGuardError):
    """It is not known whether the token is valid. HTTP: 503. `retry_after`: whole seconds, at least 1. `__cause__` has
    the reason."""

    message: ClassVar[str] = "the token could not be validated; see the cause and the log"
    description: ClassVar[str] = "The access token cannot be checked at the moment."
    retry_after: int = 1

    def __init__(self, *, retry_after: int = 1) -> None:
        self.retry_after = max(1, int(retry_after))
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Callable[[], UnavailableError], tuple[()]]:
        return partial(type(self), retry_after=self.retry_after), ()


class KeysUnavailableError(UnavailableError):
    """The issuer's keys are unreachable, and no cached key may be used."""

    message: ClassVar[str] = "the issuer's keys are unavailable; check that its metadata and key set can be fetched"


class IntrospectionUnavailableError(UnavailableError):
    """Introspection or the revocation store gave no usable answer."""

    message: ClassVar[str] = (
        "revocation cannot be checked; check the introspection endpoint, our credentials, the store"
    )


_NO_NEXT_STEP: Final = "compare the request's settings with what the server grants to this client"
_REFUSED_NEXT_STEP: Final = {
    "access_denied": "let the server's policy grant this client what it asks for",
    "invalid_client": "compare client_id, client_auth and the secret or key with the registration at the server",
    "invalid_dpop_proof": "compare this host's clock with the server's",
    "invalid_grant": "the subject token is not valid at this server, or has expired",
    "invalid_request": "the server asks for a field that was not sent, such as resource, audience or scope",
    "invalid_scope": "compare scope with what the server grants to this client",
    "invalid_target": "compare resource and audience with those that the server knows",
    "unauthorized_client": "let the server allow this grant for this client",
    "unsupported_grant_type": "the server does not offer this grant",
    "use_dpop_nonce": "the server accepted none of its own nonces",
}


class TokenRefusedError(TokenGuardError):
    """The authorization server rejects our own request for a token (RFC 6749 section 5.2). HTTP: 500: that is never
    the fault of a caller of this API.

    `error` is a code of IANA's OAuth Extensions Error Registry, None for any other text. `error_description` is the
    server's text, printable ASCII of at most 200 characters, None if it contains a secret that was sent. It is in no
    `str`, no `repr` and no log.
    """

    error: str | None = None
    error_description: str | None = None

    def __init__(self, error: str | None = None, error_description: str | None = None) -> None:
        self.error = error
        self.error_description = error_description
        code = "no registered code" if error is None else error
        next_step = _REFUSED_NEXT_STEP.get(error or "", _NO_NEXT_STEP)
        super().__init__(f"the authorization server refused a token ({code}): {next_step}")

    def __reduce__(self) -> tuple[type[TokenRefusedError], tuple[str | None, str | None]]:
        return type(self), (self.error, self.error_description)


class TokenUnavailableError(UnavailableError):
    """No token for an outbound call: the authorization server is unreachable, too busy, or gave no usable answer, and
    no remembered token may be used. HTTP: 503. `__cause__` has the reason."""

    message: ClassVar[str] = (
        "no token for an outbound call: the authorization server gave none; see the cause and the log"
    )
