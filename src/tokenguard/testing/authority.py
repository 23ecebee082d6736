"""An authorization server without a socket: clients, endpoints, counters, outages.

Owns: receiving a request and answering it. Must not know: httpx, sockets, the validator.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from tokenguard._flow.wall_time import wall_time
from tokenguard.testing.clients import Client, Clients, TokenFormat
from tokenguard.testing.endpoints import PLACES, Endpoints, Published
from tokenguard.testing.malformed import MalformingMint
from tokenguard.testing.tokens import b64url
from tokenguard.testing.traffic import ENDPOINTS, Answer, Counters, Endpoint, Mode, Outage, Request, Response

__all__ = ["AuthorizationServer"]

_RECORDED = 1_000


class AuthorizationServer(MalformingMint):
    """A mint with clients and endpoints: a `Request` in, a `Response` out. See `FakeIssuer`, which adds the wire."""

    def __init__(
        self,
        url: str = "https://issuer.example",
        *,
        audience: str | Iterable[str] = "https://api.example.com",
        algorithm: str = "RS256",
        clock: Callable[[], float] = wall_time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        client_id: str = "client",
        discovery: Iterable[str] = PLACES,
        jwks_uri: str | None = None,
    ) -> None:
        super().__init__(
            url, audience=audience, algorithm=algorithm, clock=clock, random_bytes=random_bytes, client_id=client_id
        )
        self.clients = Clients(clock)
        self.people: dict[str, dict[str, object]] = {}
        self.endpoints = Endpoints(
            self, self.clients, self.people, random_bytes=random_bytes, places=discovery, jwks_uri=jwks_uri
        )
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
        previous_secret: str | None = None,
        public: bool = False,
    ) -> Client:
        """Register a client, or replace it. `secret` defaults to a random one. `scopes` None: any scope is granted.

        `previous_secret` is accepted too, as while a secret is rotated. `public`: no credentials; token exchange and
        codes only. `key_algorithm` (RS, PS, ES or EdDSA) gives it a key for `private_key_jwt` instead:
        `client.key.private_pem()`.
        """
        key = self.unpublished_key(key_algorithm, kid=f"{client_id}-key") if key_algorithm else None
        if key is None and secret is None and not public:
            secret = b64url(self._random_bytes(24))
        granted = None if scopes is None else frozenset(scopes)
        return self.clients.add(Client(client_id, secret, granted, key, token_format, previous_secret, public))

    def add_person(self, subject: str, **claims: object) -> None:
        """Let `subject` log in, by authorization code and PKCE, without a password: the token is about them, `claims`
        beside or instead of its own. The first person adds the authorization endpoint and its metadata."""
        self.people[subject] = claims

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
    def authorization_endpoint(self) -> str:
        """The URL of the authorization endpoint, which is there once there is a person."""
        return self.endpoints.url("authorization")

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
        `Response`. `headers` default to `Content-Type: application/json`. Raises `ValueError` for another endpoint.
        """
        if endpoint not in ENDPOINTS:
            raise ValueError(f"endpoint must be one of {', '.join(ENDPOINTS)}")
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
