"""`TokenSource`: access tokens for the calls that this service makes, one for each key, renewed ahead.

Owns: the settings of a source, the path of a token that is remembered. Must not know: when a token is renewed
(`_issuer.token_source`), how it is asked for (`_issuer.token_request`), who sends it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, TypeVar

from tokenguard._flow.effects import Flow
from tokenguard._flow.wall_time import wall_time
from tokenguard._io.runtime import Runtime
from tokenguard._issuer.discovery import Discovery
from tokenguard._issuer.dpop_proofs import Proofs
from tokenguard._issuer.issued_token import IssuedToken, TokenState
from tokenguard._issuer.token_clocks import Clocks
from tokenguard._issuer.token_log import TokenLog
from tokenguard._issuer.token_request import TokenRequest
from tokenguard._issuer.token_source import TokenKey, Tokens
from tokenguard._oauth.client_authentication import ClientAuthentication, PrivateKey, Text, check_plain, printable
from tokenguard._oauth.scope import scope_names
from tokenguard._oauth.token_messages import MAX_LIFETIME, MIN_LIFETIME, OUR_FIELDS, Asked
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.observers import Observer
from tokenguard._observe.supply import Supply
from tokenguard._settings import absolute_uri, fetched_url, is_https, number, strings, switch, whole
from tokenguard._setup import client_environment
from tokenguard._setup.assembly import check_outbound
from tokenguard._setup.variables import in_variables
from tokenguard.errors import ConfigurationError, TokenGuardError, TokenRefusedError, TokenUnavailableError
from tokenguard.secret_file import SecretFile

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = [
    "IssuedToken",
    "SecretFile",
    "TokenRefusedError",
    "TokenSource",
    "TokenState",
    "TokenUnavailableError",
]

T = TypeVar("T")
Names: TypeAlias = str | Iterable[str]
ClientAuth: TypeAlias = Literal[
    "client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "none"
]

_METHODS: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "none")
_METADATA_AGE: Final = 86_400  # seconds that metadata is remembered where its server says nothing else
_SUBJECT_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # RFC 8693 section 3
_KNOWN: Final = 4  # spellings of a key that are remembered, on average


class TokenSource(Runtime):
    """Access tokens of one client at one authorization server (RFC 6749 section 4.4, RFC 8693). One source serves any
    number of threads and event loops at once, and survives a fork. It keeps one token for each key, which is all
    that a token was asked for, and renews it ahead, in the background; tokens are written nowhere.

    - `issuer`: the authorization server, whose metadata names the token endpoint
    - `token_endpoint`: replaces the one that metadata names

    What is asked for:

    - `scope`: space-delimited or iterable
    - `resource`: absolute URIs (RFC 8707)
    - `audience`: names of services (RFC 8693)
    - `subject_token`, `subject_token_type`: makes the grant token exchange (RFC 8693)
    - `parameters`: further form fields
    - `dpop`: True binds tokens to a key of this source (RFC 9449)

    How this client authenticates. Secrets, keys, assertions and subject tokens are values or plain callables without
    arguments, such as `SecretFile(path)`, read for each token request beside the event loop.

    - `client_auth`: the method
    - `client_id`: the client that asks
    - `client_secret`: one, or two while it is rotated: `(current, previous)`
    - `private_key`, `private_key_id`, `private_key_algorithm`, `assertion_audience`: as `Introspection` has them
    - `client_assertion`: in place of a key, an assertion that the platform signs

    Limits, and for tests:

    - `default_lifetime`: seconds that a token is used where the answer names no lifetime
    - `cache_size`: keys; the least recently used one makes room
    - `http_timeout`: seconds for all that one attempt does
    - `clock`, `monotonic`, `jitter`, `allow_insecure_http`, `transport`, `ssl_context`: as `TokenValidator` has them

    Raises `ConfigurationError`, with what to write instead.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str | None = None,
        client_secret: Text | tuple[Text, Text] | Callable[[], tuple[str, str]] | None = None,
        *,
        scope: Names = (),
        resource: Names = (),
        audience: Names = (),
        token_endpoint: str | None = None,
        client_auth: ClientAuth = "client_secret_basic",
        private_key: PrivateKey | Callable[[], PrivateKey] | None = None,
        private_key_id: str | None = None,
        private_key_algorithm: str = "RS256",
        client_assertion: Text | None = None,
        assertion_audience: str | None = None,
        subject_token: Text | None = None,
        subject_token_type: str = _SUBJECT_TOKEN,
        parameters: Mapping[str, str] | None = None,
        dpop: bool = False,
        default_lifetime: float = 300,
        cache_size: int = 1_000,
        http_timeout: float = 5,
        clock: Callable[[], float] = wall_time,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        allow_insecure_http: bool = False,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        check_outbound(http_timeout, ssl_context, clock, monotonic, jitter)
        self._allows_http = switch("allow_insecure_http", allow_insecure_http)
        self.issuer = self._checked_issuer(issuer, token_endpoint)
        authentication = ClientAuthentication(
            methods=_METHODS,
            method=client_auth,
            client_id=client_id,
            client_secret=client_secret,
            private_key=private_key,
            private_key_id=private_key_id,
            private_key_algorithm=private_key_algorithm,
            client_assertion=client_assertion,
            assertion_audience=assertion_audience,
        )
        if client_auth == "private_key_jwt" and private_key is not None and client_assertion is not None:
            raise ConfigurationError("give either private_key, to sign here, or client_assertion, signed elsewhere")
        if client_auth == "tls_client_auth" and ssl_context is None and transport is None:
            raise ConfigurationError(
                'client_auth="tls_client_auth" needs a client certificate: give an ssl_context that holds one'
            )
        self.client_id = client_id
        self._token_endpoint = token_endpoint
        self._needs_subject = client_auth == "none"
        self._subject = subject_token
        check_plain("subject_token", subject_token)
        if subject_token is not None and not callable(subject_token):
            printable("subject_token", subject_token)
        absolute_uri("subject_token_type", subject_token_type)
        self._default = Asked(
            scopes=scope_names(scope),
            resource=_resources(resource),
            audience=_audiences(audience),
            subject_token_type=subject_token_type,
            parameters=_parameters(parameters),
            token_type="DPoP" if switch("dpop", dpop) else "Bearer",
        )
        number("default_lifetime", default_lifetime, minimum=MIN_LIFETIME)
        self._clock, self._monotonic = clock, monotonic
        clocks = Clocks(clock, monotonic, jitter)
        log = BoundedLog()
        self.proofs = Proofs(clocks) if dpop else None
        self._tokens = Tokens(
            TokenRequest(
                issuer=issuer,
                endpoint=token_endpoint,
                discovery=Discovery(
                    issuer,
                    max_age=_METADATA_AGE,
                    timeout=http_timeout,
                    allow_insecure_http=allow_insecure_http,
                    monotonic=clocks.mono,
                ),
                authentication=authentication,
                proofs=self.proofs,
                clocks=clocks,
            ),
            timeout=http_timeout,
            default_lifetime=min(default_lifetime, MAX_LIFETIME),
            size=whole("cache_size", cache_size, minimum=1),
            clocks=clocks,
            log=TokenLog(issuer, log),
        )
        self._entries = self._tokens.entries
        self._keys: dict[object, TokenKey] = {}
        self._known = _KNOWN * cache_size
        super().__init__(transport, ssl_context, log, asked=(token_endpoint or issuer,))

    def _checked_issuer(self, issuer: object, token_endpoint: object) -> str:
        if not isinstance(issuer, str) or not issuer:
            raise ConfigurationError("issuer must be the URL of the authorization server")
        name, fetched = ("issuer", issuer) if token_endpoint is None else ("token_endpoint", token_endpoint)
        url = fetched_url(name, fetched)
        if name == "issuer" and "?" in url:
            raise ConfigurationError("an issuer that is discovered must not have a query: give token_endpoint")
        if not is_https(url) and not self._allows_http:
            raise ConfigurationError(
                f"{name} must be https: over http anyone on the way can read the secret and the tokens;"
                " for development only, set allow_insecure_http=True"
            )
        return issuer

    @classmethod
    def from_env(cls, prefix: str = "TOKENGUARD_CLIENT_", **settings: Any) -> Self:
        """A source from environment variables, `settings` replacing them; see `from_mapping`."""
        return cls.from_mapping(os.environ, prefix, **settings)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str], prefix: str = "TOKENGUARD_CLIENT_", **settings: Any) -> Self:
        """A source from `PREFIX + NAME` entries: `ISSUER`, `ID`, `SECRET` or `SECRET_FILE`, `PRIVATE_KEY_FILE`,
        `ASSERTION_FILE`, `SUBJECT_TOKEN_FILE`, `TOKEN_ENDPOINT`, `AUTH`, `SCOPE`, `RESOURCE`, `AUDIENCE`; lists are
        separated by spaces. Raises `ConfigurationError` naming the variable, also for a name that is nearly one of
        these.
        """
        with in_variables(client_environment.names(prefix), settings):
            return cls(**client_environment.read(mapping, prefix, settings))

    # -- tokens --------------------------------------------------------------------------------------------------------

    def token(
        self,
        *,
        scope: Names | None = None,
        resource: Names | None = None,
        audience: Names | None = None,
        subject_token: str | None = None,
    ) -> IssuedToken:
        """A token, from a thread: the remembered one, else a new one. `scope`, `resource` and `audience` replace the
        source's own; `subject_token`: the token of our caller, for a call on its behalf.

        Raises `TokenRefusedError` (the server rejects the request), `TokenUnavailableError` (no usable answer, and no
        usable token), `ConfigurationError`. It raises nothing else.
        """
        if subject_token is None and self.observer is None and not self._async_only:
            try:
                entry = self._entries[self._keys[scope, resource, audience]]
                token, mono, wall = entry.ready
                if self._monotonic() < mono and self._clock() < wall:
                    self._entries.move_to_end(entry.key)
                    return token  # type: ignore[return-value]
            except Exception:  # noqa: BLE001, S110 - whatever it was, the way below says it, or does without
                pass
        return self._supply(scope, resource, audience, subject_token)

    async def token_async(
        self,
        *,
        scope: Names | None = None,
        resource: Names | None = None,
        audience: Names | None = None,
        subject_token: str | None = None,
    ) -> IssuedToken:
        """`token` for event loops: it never blocks the loop."""
        if subject_token is None and self.observer is None and not self._sync_only:
            try:
                entry = self._entries[self._keys[scope, resource, audience]]
                token, mono, wall = entry.ready
                if self._monotonic() < mono and self._clock() < wall:
                    self._entries.move_to_end(entry.key)
                    return token  # type: ignore[return-value]
            except Exception:  # noqa: BLE001, S110 - see `token`
                pass
        return await self._supply_async(scope, resource, audience, subject_token)

    def _supply(
        self, scope: Names | None, resource: Names | None, audience: Names | None, subject: str | None
    ) -> IssuedToken:
        supply = None if self.observer is None else Supply(self.observer)
        try:
            self._check_sync()  # first: what begins here is a flight that others may wait for
            found = self._begin(scope, resource, audience, subject, supply)
            token = found if isinstance(found, IssuedToken) else self._run(found)
        except Exception as error:  # noqa: BLE001 - it leaves as one of ours
            ours = _ours(error, supply)
            raise ours from ours.__cause__
        if supply is not None:
            supply.end(None)
        return token

    async def _supply_async(
        self, scope: Names | None, resource: Names | None, audience: Names | None, subject: str | None
    ) -> IssuedToken:
        supply = None if self.observer is None else Supply(self.observer)
        try:
            self._check_async()
            found = self._begin(scope, resource, audience, subject, supply)
            token = found if isinstance(found, IssuedToken) else await self._run_async(found)
        except Exception as error:  # noqa: BLE001 - it leaves as one of ours
            ours = _ours(error, supply)
            raise ours from ours.__cause__
        if supply is not None:
            supply.end(None)
        return token

    def _begin(
        self,
        scope: Names | None,
        resource: Names | None,
        audience: Names | None,
        subject: str | None,
        supply: Supply | None,
    ) -> IssuedToken | Flow[IssuedToken]:
        asked = self.asked(scope, resource, audience)
        digest = None
        if subject is not None:
            digest = sha256(printable("subject_token", subject).encode("utf-8", "surrogatepass")).digest()
        elif self._needs_subject and self._subject is None:
            raise ConfigurationError('client_auth="none" is for token exchange only: give a subject_token')
        key = TokenKey(frozenset(asked.scopes), frozenset(asked.resource), frozenset(asked.audience), digest)
        if digest is None and all(isinstance(one, str | tuple | None) for one in (scope, resource, audience)):
            if len(self._keys) >= self._known:
                self._keys.clear()
            self._keys[scope, resource, audience] = key
        noted = None if supply is None else supply.note
        return self._tokens.attend(key, asked, self._subject if subject is None else subject, noted)

    def asked(self, scope: Names | None, resource: Names | None, audience: Names | None) -> Asked:
        """What a call with these arguments asks for, for adapters: they check theirs when they are made."""
        own = self._default
        if scope is None and resource is None and audience is None:
            return own
        return replace(
            own,
            scopes=own.scopes if scope is None else scope_names(scope),
            resource=own.resource if resource is None else _resources(resource),
            audience=own.audience if audience is None else _audiences(audience),
        )

    def discard(self, token: IssuedToken) -> None:
        """An API answered 401 to `token`: let the next caller wait for another one. At most one fetch in 30 s for each
        key; within that, and where that fetch fails, the token stays in use. `AccessTokenAuth` does this by itself."""
        if not isinstance(token, IssuedToken):
            raise ConfigurationError("discard takes the IssuedToken that was sent")
        self._tokens.discard(token)

    # -- life ----------------------------------------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Get the source's own token now. Raises as `token` does."""
        self.token()

    async def warm_up_async(self) -> None:
        """`warm_up` for event loops."""
        await self.token_async()

    def state(self) -> tuple[TokenState, ...]:
        """A snapshot of every key that was asked for, the least recently used first. Cheap, and never waits."""
        return self._tokens.state()

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs that settings name."""
        return self.issuer, *(() if self._token_endpoint is None else (self._token_endpoint,))

    @property
    def allows_http(self) -> bool:
        """Whether http is allowed, for development."""
        return self._allows_http

    def _observed_by(self, members: tuple[Observer, ...]) -> None:
        super()._observed_by(members)
        self._tokens.observer = self.observer

    def __repr__(self) -> str:
        return f"TokenSource(issuer={self.issuer!r}, client_id={self.client_id!r})"


def _ours(error: Exception, supply: Supply | None) -> TokenGuardError:
    """`error` as one of ours, reported."""
    if isinstance(error, TokenGuardError):
        ours = error
    else:
        ours = ConfigurationError(
            f"an unexpected {type(error).__name__} stopped the request for a token: see the cause"
        )
        ours.__cause__ = error
    if supply is not None:
        supply.end(ours)
    return ours


def _resources(value: Names) -> tuple[str, ...]:
    """Absolute URIs without fragment (RFC 8707 section 2)."""
    found = _names("resource", value, 'resource="https://payments.example.com/"')
    return tuple(absolute_uri("resource", one) for one in found)


def _audiences(value: Names) -> tuple[str, ...]:
    return tuple(printable("audience", one) for one in _names("audience", value, 'audience="payments"'))


def _names(name: str, value: Any, example: str) -> tuple[str, ...]:
    """One or several strings, or none by an empty iterable."""
    if not isinstance(value, str) and isinstance(value, Iterable):
        value = tuple(value)
    return () if value == () else strings(name, value, example=example)


def _parameters(value: object) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise ConfigurationError('parameters must be a mapping of form fields, such as {"account": "42"}')
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str) or not name:
            raise ConfigurationError("parameters must hold strings only, by non-empty names")
        if any("\ud800" <= one <= "\udfff" for one in name + text):
            raise ConfigurationError("parameters must hold text that can be sent: no lone surrogates")
        if name in OUR_FIELDS:
            raise ConfigurationError("parameters must not hold a field that has a setting of its own")
    return tuple(value.items())
