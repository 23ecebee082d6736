"""One attempt to get a token: find the endpoint, read the secret, ask; once more for a nonce, once for another secret.

Owns: what an attempt does, and when its lifetime begins. Must not know: which callers wait, what is remembered, when
to ask again. It runs inside a flight, whose deadline bounds all of it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from functools import partial

from tokenguard._flow.effects import Blocking, Flow, Response, Send, reading
from tokenguard._flow.messages import Request
from tokenguard._issuer.discovery import Discovery
from tokenguard._issuer.dpop_proofs import Proofs
from tokenguard._issuer.token_clocks import Clocks
from tokenguard._oauth.client_auth import Credentials
from tokenguard._oauth.client_authentication import ClientAuthentication, Secret, fingerprint, printable, value_of
from tokenguard._oauth.token_messages import Asked, Issued, Sent, TokenAnswerError, build_request, read_answer


@dataclass(frozen=True, slots=True)
class Obtained:
    """A token and when it was asked for, just before the request went out. `secret`: the fingerprint of what
    authenticated, None where that is another one each time."""

    issued: Issued
    mono: float
    wall: float
    secret: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Prepared:
    request: Request
    asked: Asked
    credentials: list[Credentials]  # those of the request, then those of its repeat
    secret: bytes
    mono: float
    wall: float


class DiscoveryError(Exception):
    """The token endpoint could not be found, which concerns every request. `__cause__` has the reason."""


class TokenRequest:
    """How tokens are asked for at one server. Immutable, but for what it remembers of metadata and nonces."""

    def __init__(
        self,
        *,
        issuer: str,
        endpoint: str | None,
        discovery: Discovery,
        authentication: ClientAuthentication,
        proofs: Proofs | None,
        clocks: Clocks,
    ) -> None:
        self.issuer = issuer
        self._endpoint = endpoint
        self._discovery = discovery
        self._authentication = authentication
        self._proofs = proofs
        self._clocks = clocks

    def run(self, asked: Asked, subject: object) -> Flow[Obtained]:
        """A token. `subject`: the subject token, a value or a callable; None for a token of the client's own.

        Raises `TokenAnswerError`, `ExchangeError`, `DiscoveryError`, `ConfigurationError`.
        """
        url = yield from self._find()
        refused: set[bytes] = set()
        sent: tuple[Sent, ...] = ()
        octets = 0
        may_renew_nonce, may_try_another = self._proofs is not None, True
        prepared: _Prepared | None = yield Blocking(partial(self._prepare, url, asked, subject, refused), self.issuer)
        while True:
            assert prepared is not None  # noqa: S101 - none was refused, or another one was found
            response: Response = yield Send(prepared.request, endpoint="token", issuer=self.issuer)
            has_nonce = self._proofs is not None and self._proofs.note(url, response.headers.get("dpop-nonce"))
            sent += tuple((prepared.asked, credentials) for credentials in prepared.credentials)
            octets += len(prepared.request.body or b"") * len(prepared.credentials)
            try:
                read = partial(read_answer, response, sent, self._clocks.wall())
                # What this attempt sent is looked for in the text of a rejection.
                issued = yield from reading(response, read, octets)
            except TokenAnswerError as error:
                if not error.refused:  # a server in trouble, whatever code it names: nothing else is sent to it
                    raise
                if error.code == "use_dpop_nonce" and has_nonce and may_renew_nonce:
                    may_renew_nonce = False
                elif error.code == "invalid_client" and may_try_another:
                    may_try_another = False
                    refused.add(prepared.secret)
                else:
                    raise
                prepared = yield Blocking(partial(self._prepare, url, asked, subject, refused), self.issuer)
                if prepared is None:
                    raise
                continue
            secret = prepared.secret if self._authentication.is_long_lived else None
            return Obtained(issued, prepared.mono, prepared.wall, secret)

    def forget(self) -> None:
        """Look the endpoint up again next time."""
        self._discovery.forget()

    def _find(self) -> Flow[str]:
        if self._endpoint is not None:
            return self._endpoint
        is_mtls = self._authentication.method == "tls_client_auth"
        try:
            return (yield from self._discovery.find("token_endpoint", mtls=is_mtls))
        except Exception as error:
            raise DiscoveryError from error

    def _prepare(self, url: str, asked: Asked, subject: object, refused: set[bytes]) -> _Prepared | None:
        """A request with the first secret that was not rejected yet, read again; None where there is none."""
        unused = [one for one in self._authentication.read() if fingerprint(one) not in refused]
        if not unused:
            return None
        if subject is not None:
            asked = replace(asked, subject_token=printable("subject_token", value_of("subject_token", subject)))
        wall = self._clocks.wall()
        made: list[Credentials] = []
        request = self._fresh(url, asked, unused[0], wall, made)
        return _Prepared(request, asked, made, fingerprint(unused[0]), self._clocks.mono(), wall)

    def _fresh(self, url: str, asked: Asked, secret: Secret, wall: float, made: list[Credentials]) -> Request:
        """The request with an assertion and a proof of its own, also where it is sent again: servers accept a `jti`
        once. Its credentials join `made`."""
        jti = secrets.token_urlsafe(16)
        credentials = self._authentication.credentials(secret, issuer=self.issuer, now=wall, jti=jti)
        made.append(credentials)
        proof = None if self._proofs is None else self._proofs.proof("POST", url)
        return build_request(url, asked, credentials, proof, partial(self._fresh, url, asked, secret, wall, made))
