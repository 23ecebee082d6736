"""`FakeIssuer`: an authorization server for tests and development.

Owns: the ways to reach it, and wiring the real validator to it. Must not know: what it answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tokenguard.testing.authority import AuthorizationServer
from tokenguard.testing.clients import Client
from tokenguard.testing.clock import Clock
from tokenguard.testing.tokens import ABSENT

if TYPE_CHECKING:
    import httpx

    from tokenguard.introspection import Introspection
    from tokenguard.issuer import Issuer
    from tokenguard.testing.server import DevelopmentServer
    from tokenguard.testing.transport import IssuerTransport
    from tokenguard.validator import TokenValidator

__all__ = ["FakeIssuer"]


class FakeIssuer(AuthorizationServer):
    """An authorization server in this process: keys, metadata, key set, token, introspection, revocation endpoints.

    The real validator checks its tokens: nothing here switches a check off, and there is nothing to switch.

    In-process: `issuer.transport`, or `httpx.MockTransport(issuer)`, as `transport` of a `TokenValidator`. Over
    loopback HTTP: `with issuer.serve() as server:`. `issuer.validator()` builds a validator that is wired either way.

    - `url`: the issuer identifier
    - `audience`: the `aud` of its tokens
    - `algorithm`: of its signatures, one of `ALGORITHMS`
    - `client_id`: of the client that is registered at the start, whose `client_secret` is random
    - `clock`: wall time in seconds
    - `random_bytes`: source of token ids, opaque tokens and secrets
    - `discovery`: where metadata is found, any of `PLACES`
    - `jwks_uri`: another place for the key set

    Key pairs are made on first use and never leave the process. To look at: `counters`, and `requests`, the last
    thousand. To change what is answered: `publish`, `outage`, and the attributes of `endpoints` (cache headers,
    metadata and introspection members).

    Not for production: it grants any scope and any audience to its clients.
    """

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
        """A loopback HTTP server, which serves from now on; `url` begins with `http://127.0.0.1:PORT`. `with` ends it.

        `port` 0 takes a free one; `OSError` where it is taken. For development only, and its log states that.
        """
        from tokenguard.testing.server import DevelopmentServer

        return DevelopmentServer(self, port).start()

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

        A `Clock` also gives the ages of its caches.
        `issuer`: what `as_issuer(…)` returned, for settings of the issuer, or several of them together with
        `transport=IssuerTransport(one, other)`. `settings` are those of `TokenValidator` and replace what is set
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
