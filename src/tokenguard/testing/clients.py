"""The clients of a test issuer, and how they authenticate.

Owns: `Client`, client authentication (RFC 6749 section 2.3, RFC 7523 section 2.2), `OAuthError`.
Must not know: what an authenticated client may then do, sockets.
"""

from __future__ import annotations

import base64
import hmac
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote_plus

import jwt

from tokenguard.testing.signing_keys import SigningKey, sign_algorithm
from tokenguard.testing.traffic import Request

__all__ = ["AUTH_METHODS", "Client", "Clients", "OAuthError", "TokenFormat", "form", "granted_scope"]

AUTH_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")
TokenFormat = Literal["jwt", "opaque"]
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LONGEST_ASSERTION = 600  # seconds; RFC 7523 section 3 (4): an unreasonably far exp may be rejected


class OAuthError(Exception):
    """An error answer (RFC 6749 section 5.2): status, code, for a failed Basic attempt a challenge, a DPoP nonce."""

    def __init__(self, code: str, status: int = 400, *, challenge: bool = False, nonce: str | None = None) -> None:
        super().__init__(code)
        self.nonce = nonce
        self.code = code
        self.status = status
        self.challenge = challenge


@dataclass(frozen=True, slots=True, repr=False)
class Client:
    """A registered client. `repr` hides secrets.

    - `client_id`: its name
    - `secret`: its password; None: it has none
    - `scopes`: that it may get; None: any
    - `key`: signs its assertions
    - `token_format`: what it gets
    - `previous_secret`: good as well, as while a secret is rotated
    - `public`: it has no credentials, and may exchange tokens and redeem codes only
    """

    client_id: str
    secret: str | None = None
    scopes: frozenset[str] | None = None
    key: SigningKey | None = None
    token_format: TokenFormat = "jwt"
    previous_secret: str | None = None
    public: bool = False

    def __repr__(self) -> str:
        return f"Client(client_id={self.client_id!r})"


def form(request: Request, repeatable: Iterable[str] = ()) -> dict[str, str]:
    """The form parameters (RFC 6749 section 3.2): each at most once, empty ones are absent.

    Raises `OAuthError` `invalid_request` for another content type, other characters than UTF-8, or a repeated name.
    """
    content_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if content_type != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request")
    try:
        pairs = parse_qsl(request.body.decode("ascii"), strict_parsing=bool(request.body), errors="strict")
    except ValueError:  # UnicodeDecodeError is one
        raise OAuthError("invalid_request") from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values and name not in repeatable:
            raise OAuthError("invalid_request")
        values[name] = value
    return values


def granted_scope(client: Client, asked: str) -> str:
    """The scope to grant (RFC 6749 section 3.3): what was asked; asked for nothing, all that the client may have."""
    wanted = [scope for scope in asked.split(" ") if scope]
    if client.scopes is None:
        return " ".join(wanted)
    if not client.scopes.issuperset(wanted):
        raise OAuthError("invalid_scope")
    return " ".join(wanted or sorted(client.scopes))


class Clients:
    """The register. Thread-safe for reading while clients are added."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, Client] = {}
        self._seen: dict[tuple[str, str], float] = {}

    def add(self, client: Client) -> Client:
        """Register, or replace the one of the same id."""
        with self._lock:
            self._known[client.client_id] = client
        return client

    def __getitem__(self, client_id: str) -> Client:
        return self._known[client_id]

    def find(self, client_id: str) -> Client | None:
        """The client of this id, if there is one."""
        return self._known.get(client_id)

    def scopes(self) -> list[str]:
        """The scopes of the clients that have a list of them."""
        with self._lock:
            return sorted({scope for client in self._known.values() for scope in client.scopes or ()})

    def identify(self, request: Request, parameters: dict[str, str], audiences: Iterable[str]) -> Client:
        """The client that redeems a code: as `authenticate`, or by its `client_id` where it sends no credentials.

        Pages in browsers can keep no secret; the proof of the code replaces it (RFC 7636).
        """
        sent = request.header("authorization"), parameters.get("client_secret"), parameters.get("client_assertion")
        client = self.find(parameters.get("client_id", ""))
        if client is not None and sent == (None, None, None):
            return client
        return self.authenticate(request, parameters, audiences)

    def authenticate(self, request: Request, parameters: dict[str, str], audiences: Iterable[str]) -> Client:
        """The client that sent this, by exactly one method. Raises `OAuthError` (RFC 6749 sections 2.3 and 5.2).

        `audiences`: what an assertion may name as its `aud` (RFC 7523 section 3): the issuer or one of its endpoints.
        """
        authorization = request.header("authorization")
        methods = (authorization is not None, "client_secret" in parameters, "client_assertion" in parameters)
        if sum(methods) > 1:
            raise OAuthError("invalid_request")
        if authorization is not None:
            return self._by_secret(*_basic(authorization), challenge=True)
        if "client_secret" in parameters:
            return self._by_secret(parameters.get("client_id", ""), parameters["client_secret"])
        if parameters.get("client_assertion_type") == _ASSERTION and "client_assertion" in parameters:
            return self._by_assertion(parameters, list(audiences))
        client = self._known.get(parameters.get("client_id", ""))
        if client is not None and client.public:
            return client
        raise OAuthError("invalid_client", 401)

    def _by_secret(self, client_id: str, secret: str, *, challenge: bool = False) -> Client:
        client = self._known.get(client_id)
        expected = () if client is None else (client.secret, client.previous_secret)
        good = [hmac.compare_digest(one.encode(), secret.encode()) for one in expected if one is not None]
        if client is None or not any(good):
            raise OAuthError("invalid_client", 401, challenge=challenge)
        return client

    def _by_assertion(self, parameters: dict[str, str], audiences: list[str]) -> Client:
        assertion = parameters["client_assertion"]
        try:
            client_id = jwt.decode(assertion, options={"verify_signature": False}).get("sub")
            client = self._known.get(client_id) if isinstance(client_id, str) else None
            if client is None or client.key is None or parameters.get("client_id", client_id) != client_id:
                raise OAuthError("invalid_client", 401)
            claims = jwt.decode(
                assertion,
                client.key.public_pem(),
                algorithms=[sign_algorithm(client.key.algorithm)],
                audience=audiences,
                issuer=client_id,
                options={
                    "require": ["iss", "sub", "aud", "exp", "jti"],
                    "verify_exp": False,  # below, by the injected clock
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError:
            raise OAuthError("invalid_client", 401) from None
        self._use_once(client.client_id, str(claims["jti"]), claims["exp"])
        return client

    def _use_once(self, client_id: str, token_id: str, expires: object) -> None:
        now = self._clock()
        with self._lock:
            self._seen = {entry: until for entry, until in self._seen.items() if until > now}
            fresh = isinstance(expires, int | float) and now < expires <= now + _LONGEST_ASSERTION
            if not fresh or (client_id, token_id) in self._seen:
                raise OAuthError("invalid_client", 401)
            self._seen[client_id, token_id] = now + _LONGEST_ASSERTION


def _basic(authorization: str) -> tuple[str, str]:
    """Client id and secret of a Basic credential, each form-decoded (RFC 6749 section 2.3.1)."""
    scheme, _, credentials = authorization.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError
        client_id, colon, secret = base64.b64decode(credentials.strip(), validate=True).decode("ascii").partition(":")
        if not colon:
            raise ValueError
        return unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
    except ValueError:
        raise OAuthError("invalid_client", 401, challenge=True) from None
