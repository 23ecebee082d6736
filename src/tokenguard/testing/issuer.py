"""`FakeIssuer`: an authorization server for tests and development.

Owns: putting the parts together, and wiring the real validator to them. Must not know: how any part works.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tokenguard.testing.clients import Client, Clients, TokenFormat
from tokenguard.testing.clock import Clock
from tokenguard.testing.endpoints import PLACES, Endpoints, Published
from tokenguard.testing.malformed import MalformingMint
from tokenguard.testing.tokens import ABSENT, b64url
from tokenguard.testing.traffic import Answer, Counters, Endpoint, Mode, Outage, Request, Response

if TYPE_CHECKING:
    import httpx

    from tokenguard.introspection import Introspection
    from tokenguard.issuer import Issuer
    from tokenguard.testing.server import DevelopmentServer
    from tokenguard.testing.transport import IssuerTransport
    from tokenguard.validator import TokenValidator

__all__ = ["FakeIssuer"]

_RECORDED = 1_000


class FakeIssuer(MalformingMint):
    """An authorization server in this process: keys, metadata, key set, token, introspection, revocation endpoints.

    It is judged by the real validator: nothing here switches a check off, and there is nothing to switch.

    In-process: `issuer.transport`, or `httpx.MockTransport(issuer)`, as `transport` of a `TokenValidator`. Over
    loopback HTTP: `with issuer.serve() as server:`. `issuer.validator()` builds a validator that is wired either way.

    `url`: the issuer identifier. `audience`: what `aud` says. `algorithm`: what signs, one of `ALGORITHMS`. `clock`:
    wall time in seconds. `random_bytes`: source of token ids, opaque tokens and secrets. `discovery`: where metadata is
    found, any of `PLACES`. `jwks_uri`: another place for the key set. `client_id`: of the client that is registered at
    the start, whose `client_secret` is random. Key pairs are made on first use and never leave the process.

    To look at: `counters`, and `requests`, the last thousand. To change what is answered: `publish`, `outage`, and the
    attributes of `endpoints` (cache headers, metadata and introspection members).

    Not for production: it grants any scope and any audience to its clients.
    """

    def __init__(
        self,
        url: str = "https://issuer.example",
        *,
        audience: str | Iterable[str] = "https://api.example.com",
        algorithm: str = "RS256",
        clock: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        client_id: str = "client",
        discovery: Iterable[str] = PLACES,
        jwks_uri: str | None = None,
    ) -> None:
        super().__init__(
            url, audience=audience, algorithm=algorithm, clock=clock, random_bytes=random_bytes, client_id=client_id
        )
        self.clients = Clients(clock)
        self.endpoints = Endpoints(self, self.clients, places=discovery, jwks_uri=jwks_uri)
        self.counters = Counters()
        self.requests: deque[Request] = deque(maxlen=_RECORDED)
        self.serving = False
        self._outages: list[Outage] = []
        self._published_answers: dict[Endpoint, Published | Answer] = {}
        self.add_client(client_id)

    # Clients

    def add_client(
        self,
        client_id: str,
        secret: str | None = None,
        *,
        scopes: Iterable[str] | None = None,
        key_algorithm: str | None = None,
        token_format: TokenFormat = "jwt",
    ) -> Client:
        """Register a client, or replace it. `secret` defaults to a random one. `scopes` None: any scope is granted.

        `key_algorithm` (RS, PS, ES or EdDSA) gives it a key for `private_key_jwt` instead: `client.key.private_pem()`.
        """
        key = self.unpublished_key(key_algorithm, kid=f"{client_id}-key") if key_algorithm else None
        if key is None and secret is None:
            secret = b64url(self._random_bytes(24))
        granted = None if scopes is None else frozenset(scopes)
        return self.clients.add(Client(client_id, secret, granted, key, token_format))

    @property
    def client_secret(self) -> str:
        """The secret of the client that is registered at the start."""
        secret = self.clients[self.client_id].secret
        if secret is None:
            raise LookupError("this client has a key instead of a secret; see clients[client_id].key")
        return secret

    # What is published

    @property
    def jwks_uri(self) -> str:
        """The URL of the key set."""
        return self.endpoints.url("jwks")

    @property
    def token_endpoint(self) -> str:
        """The URL of the token endpoint."""
        return self.endpoints.url("token")

    @property
    def introspection_endpoint(self) -> str:
        """The URL of the introspection endpoint."""
        return self.endpoints.url("introspection")

    @property
    def revocation_endpoint(self) -> str:
        """The URL of the revocation endpoint."""
        return self.endpoints.url("revocation")

    def publish(
        self,
        endpoint: Endpoint,
        body: Mapping[str, object] | bytes | str | Answer | None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Let `endpoint` answer this, whatever it is, until `publish(endpoint, None)` brings the real answer back.

        `body`: a mapping goes out as JSON, octets and text as they are; a function gets the `Request` and returns a
        `Response`. `headers` default to `Content-Type: application/json`.
        """
        if body is None:
            self._published_answers.pop(endpoint, None)
        elif callable(body):
            self._published_answers[endpoint] = body
        else:
            content_type = {"Content-Type": "application/json"} if headers is None else dict(headers)
            self._published_answers[endpoint] = Published(body, status, content_type)

    def outage(self, mode: Mode = "refuse", endpoints: Iterable[Endpoint] | Endpoint | None = None) -> Outage:
        """`with issuer.outage():` nothing answers. See `Outage` for modes; `endpoints` limits it, None means all."""
        return Outage(self._outages, mode, endpoints)

    # Requests

    def knows(self, url: str) -> bool:
        """Whether `url` (absolute, without query) is one of its endpoints."""
        return self.endpoints.find(url) != "other"

    def hosts(self, url: str) -> bool:
        """Whether `url` is at its scheme, host and port."""
        return urlsplit(url)[:2] == urlsplit(self.url)[:2]

    def receive(self, request: Request) -> tuple[Request, Outage | None]:
        """Count and record a request. Returns it with its endpoint, and the outage that it meets."""
        asked = replace(request, endpoint=self.endpoints.find(request.url))
        self.counters.add(asked.endpoint)
        self.requests.append(asked)
        return asked, next((outage for outage in tuple(self._outages) if asked.endpoint in outage.endpoints), None)

    def respond(self, request: Request) -> Response:
        """The answer to a request that was received: the published one, else the real one."""
        published = self._published_answers.get(request.endpoint)
        if published is None:
            return self.endpoints.answer(request)
        return published.response() if isinstance(published, Published) else published(request)

    def handler(self, request: httpx.Request) -> httpx.Response:
        """For `httpx.MockTransport(issuer.handler)`; the issuer itself is callable too.

        While it hangs this blocks the calling thread: on an event loop use `issuer.transport`, which does not.
        """
        from tokenguard.testing.transport import handle

        return handle(self, request)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The same as `handler`."""
        return self.handler(request)

    @property
    def transport(self) -> IssuerTransport:
        """A new httpx transport, for threads and event loops, that reaches this issuer and nothing else."""
        from tokenguard.testing.transport import IssuerTransport

        return IssuerTransport(self)

    def serve(self, *, port: int = 0) -> DevelopmentServer:
        """A loopback HTTP server, started by `with` or `start()`; then `url` begins with `http://127.0.0.1:PORT`.

        `port` 0 takes a free one. For development only, and it says so on the log.
        """
        from tokenguard.testing.server import DevelopmentServer

        return DevelopmentServer(self, port)

    # The real validator

    def as_issuer(self, **settings: Any) -> Issuer:
        """The real `Issuer` for this server. `settings` are those of `Issuer`; static keys where they are symmetric."""
        from tokenguard.issuer import Issuer

        if self.symmetric:
            settings = {"jwks": self.jwks(), "algorithms": [self.algorithm], **settings}
        return Issuer(self.url, **settings)

    def introspection(self, client: Client | None = None, **settings: Any) -> Introspection:
        """The real `Introspection` for this server, authenticated as `client` (default: the first one).

        A client with a key uses `private_key_jwt`. `settings` are those of `Introspection`; with `client_auth="bearer"`
        give `bearer_token=issuer.mint()`.
        """
        from tokenguard.introspection import Introspection

        client = client or self.clients[self.client_id]
        ours: dict[str, Any] = {"client_id": client.client_id, "client_secret": client.secret}
        if settings.get("client_auth") == "bearer":
            ours = {}
        elif client.key is not None:
            ours = {
                "client_id": client.client_id,
                "client_auth": "private_key_jwt",
                "private_key": client.key.private_pem(),
                "private_key_id": client.key.kid,
                "private_key_algorithm": client.key.algorithm,
            }
        return Introspection(**{**ours, **settings})

    def validator(self, issuer: str | Issuer | Iterable[str | Issuer] | None = None, **settings: Any) -> TokenValidator:
        """A real `TokenValidator` that trusts this server, reaches it, and shares its clock.

        A `Clock` also tells it the ages of its caches.
        `issuer`: what `as_issuer(…)` returned, for settings of the issuer, or several of them together with
        `transport=IssuerTransport(one, other)`. `settings` are those of `TokenValidator` and win over what is wired
        here. Build it after `serve()` has started: the URL is another one then.
        """
        from tokenguard.validator import TokenValidator

        wired: dict[str, Any] = {"audience": self.audience, "clock": self.clock}
        if isinstance(self.clock, Clock):
            wired["monotonic"] = self.clock
        if self.serving:
            wired["allow_insecure_http"] = True
        else:
            wired.update(transport=self.transport, allow_insecure_http=self.url.startswith("http:"))
        return TokenValidator(issuer or self.as_issuer(), **{**wired, **settings})

    def headers(self, scope: object = ABSENT, **claims: Any) -> dict[str, str]:
        """`{"Authorization": "Bearer …"}` with a new token, arguments as `mint`: for requests to the API under test."""
        return {"Authorization": f"Bearer {self.mint(scope, **claims)}"}

    def __repr__(self) -> str:
        return f"FakeIssuer({self.url!r})"
