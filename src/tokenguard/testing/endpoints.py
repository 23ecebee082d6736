"""What each endpoint answers: a request in, a response out.

Owns: metadata (RFC 8414, OpenID Connect Discovery 1.0), the key set, the token endpoint, introspection (RFC 7662),
revocation (RFC 7009). Must not know: the login page (see `authorization`), httpx, sockets, outages, counters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import urlsplit

from tokenguard._oauth.certificate import MalformedCertificateError, read_field
from tokenguard.testing.authorization import Authorization
from tokenguard.testing.browsers import cors, preflight
from tokenguard.testing.clients import AUTH_METHODS, Client, Clients, OAuthError, form
from tokenguard.testing.codes import Codes
from tokenguard.testing.grants import GRANTS, issue, issue_to_person
from tokenguard.testing.minting import Mint
from tokenguard.testing.proofs import PROOF_ALGORITHMS, proven
from tokenguard.testing.tokens import b64url, changed
from tokenguard.testing.traffic import Endpoint, Request, Response

__all__ = ["PLACES", "Endpoints", "Published"]

PLACES = ("rfc8414_inserted", "oidc_inserted", "oidc_suffix", "rfc8414_suffix")
"""Where metadata may be asked for, in the order in which the validator asks (contract section 3)."""

_NO_STORE = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))
Handler = Callable[[Request], Response]
_METHODS: dict[Endpoint, tuple[str, ...]] = {
    "discovery": ("GET", "HEAD"),
    "jwks": ("GET", "HEAD"),
    "authorization": ("GET", "HEAD", "POST"),
    "token": ("POST",),
    "introspection": ("POST",),
    "revocation": ("POST",),
}
_FOR_PAGES: frozenset[Endpoint] = frozenset({"discovery", "jwks", "token", "revocation"})


@dataclass(frozen=True, slots=True)
class Published:
    """An answer that replaces the real one: `body` as it goes out, JSON for a mapping."""

    body: Mapping[str, object] | bytes | str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})

    def response(self) -> Response:
        """As a response."""
        body = self.body.encode() if isinstance(self.body, str) else self.body
        octets = body if isinstance(body, bytes) else json.dumps(dict(body)).encode()
        return Response(self.status, octets, tuple(self.headers.items()))


class Endpoints:
    """The endpoints of one `Mint`. Settings are plain attributes, to be changed between requests.

    `places`: where metadata is found. `metadata_changes`, `introspection_changes`: members to replace or drop
    (`ABSENT`) in those answers. `jwks_uri`: another place for the key set. `jwks_headers`: for example `Cache-Control`,
    `Age`, `ETag`. `jwks_etag`: send an `ETag` of the content. Either tag makes `If-None-Match` answer 304 (RFC 9110
    section 13.1.2). `dpop_nonce`: what a DPoP proof at the token endpoint must carry (RFC 9449 section 8).
    """

    def __init__(
        self,
        mint: Mint,
        clients: Clients,
        people: Mapping[str, Mapping[str, object]],
        *,
        random_bytes: Callable[[int], bytes],
        places: Iterable[str] = PLACES,
        jwks_uri: str | None = None,
    ) -> None:
        self.mint = mint
        self.clients = clients
        self.people = people
        self._codes = Codes(mint.clock, random_bytes)
        self._authorization = Authorization(mint, clients, people, self._codes)
        self.places = (places,) if isinstance(places, str) else tuple(places)
        if not set(self.places) <= set(PLACES):
            raise ValueError(f"discovery must be any of {', '.join(PLACES)}")
        self.jwks_uri = jwks_uri
        self.jwks_headers: dict[str, str] = {}
        self.jwks_etag = False
        self.metadata_changes: dict[str, object] = {}
        self.introspection_changes: dict[str, object] = {}
        self.dpop_nonce: str | None = None

    # Places

    def url(self, endpoint: Endpoint) -> str:
        """The absolute URL of an endpoint; for discovery, the first place in use."""
        if endpoint == "discovery":
            return self.discovery_urls()[0]
        if endpoint == "jwks" and self.jwks_uri is not None:
            return self.jwks_uri
        path = {"authorization": "authorize", "introspection": "introspect", "revocation": "revoke"}.get(
            endpoint, endpoint
        )
        return f"{self.mint.url.removesuffix('/')}/{path}"

    def discovery_urls(self) -> tuple[str, ...]:
        """The metadata URLs in use (RFC 8414 section 3.1; OpenID Connect Discovery 1.0 section 4.1)."""
        parts = urlsplit(self.mint.url)
        origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.removesuffix("/")
        oauth, oidc = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
        urls = {
            "rfc8414_inserted": f"{origin}{oauth}{path}",
            "oidc_inserted": f"{origin}{oidc}{path}",
            "oidc_suffix": f"{origin}{path}{oidc}",
            "rfc8414_suffix": f"{origin}{path}{oauth}",
        }
        return tuple(urls[place] for place in self.places)

    def find(self, url: str) -> Endpoint:
        """Which endpoint `url` (absolute, without query) is; `other` for none."""
        if url in self.discovery_urls():
            return "discovery"
        served: tuple[Endpoint, ...] = ("jwks", "token", "introspection", "revocation", "authorization")
        for endpoint in served if self.people else served[:-1]:
            if self.url(endpoint) == url:
                return endpoint
        return "other"

    # Answers

    def answer(self, request: Request) -> Response:
        """The answer of the endpoint named in `request.endpoint`. Never raises."""
        answer = self._answer(request)
        if request.endpoint not in _FOR_PAGES:
            return answer
        return replace(answer, headers=(*answer.headers, *cors(request)))

    def _answer(self, request: Request) -> Response:
        handlers: dict[Endpoint, Handler] = {
            "discovery": self._discovery,
            "jwks": self._jwks,
            "authorization": self._authorization.answer,
            "token": self._token,
            "introspection": self._introspection,
            "revocation": self._revocation,
        }
        handler = handlers.get(request.endpoint)
        if handler is None:
            return _json(404, {"error": "not_found"})
        allowed = _METHODS[request.endpoint]
        preflown = preflight(request, allowed) if request.endpoint in _FOR_PAGES else None
        if preflown is not None:
            return Response(204, b"", preflown)
        if request.method not in allowed:
            return _json(405, {"error": "invalid_request"}, (("Allow", ", ".join(allowed)),))
        try:
            return handler(request)
        except OAuthError as error:
            challenge = (("WWW-Authenticate", 'Basic realm="development issuer"'),) if error.challenge else ()
            nonce = () if error.nonce is None else (("DPoP-Nonce", error.nonce),)
            return _json(error.status, {"error": error.code}, (*_NO_STORE, *challenge, *nonce))

    def metadata(self) -> dict[str, object]:
        """The authorization server's metadata (RFC 8414 section 2), `metadata_changes` applied."""
        members: dict[str, object] = {
            "issuer": self.mint.url,
            "jwks_uri": self.url("jwks"),
            "token_endpoint": self.url("token"),
            "introspection_endpoint": self.url("introspection"),
            "revocation_endpoint": self.url("revocation"),
            "grant_types_supported": list(GRANTS),
            "dpop_signing_alg_values_supported": list(PROOF_ALGORITHMS),
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.mint.algorithm],
        }
        for endpoint in ("token", "introspection", "revocation"):
            members[f"{endpoint}_endpoint_auth_methods_supported"] = list(AUTH_METHODS)
        scopes = self.clients.scopes()
        if scopes:
            members["scopes_supported"] = scopes
        if self.people:
            members |= {
                "authorization_endpoint": self.url("authorization"),
                "grant_types_supported": ["authorization_code", *GRANTS],
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": [*AUTH_METHODS, "none"],
                "authorization_response_iss_parameter_supported": True,
            }
        return changed(members, self.metadata_changes)

    def _discovery(self, _: Request) -> Response:
        return _json(200, self.metadata())

    def _jwks(self, request: Request) -> Response:
        if self.mint.symmetric:  # a shared secret is never served
            return _json(404, {"error": "not_found"})
        body = json.dumps(self.mint.jwks()).encode()
        headers = dict(self.jwks_headers)
        if self.jwks_etag:
            headers.setdefault("ETag", f'"{hashlib.sha256(body).hexdigest()[:16]}"')
        if "ETag" in headers and request.header("if-none-match") == headers["ETag"]:
            return Response(304, b"", tuple(headers.items()))
        return Response(200, body, (("Content-Type", "application/json"), *headers.items()))

    def _token(self, request: Request) -> Response:
        parameters = form(request, repeatable=("resource",))
        by_code = parameters.get("grant_type") == "authorization_code" and bool(self.people)
        identify = self.clients.identify if by_code else self.clients.authenticate
        client = identify(request, parameters, self._audiences(request))
        thumbprint = self._thumbprint(request)
        cnf = ({} if thumbprint is None else {"jkt": thumbprint}) | _of_certificate(request)
        if by_code:
            make = partial(issue_to_person, self.mint, client, parameters, cnf, self.people)
            answer = self._codes.redeem(parameters, client.client_id, make, self.mint.revoke)
        else:
            answer = issue(self.mint, client, parameters, cnf)
        nonce = () if thumbprint is None or self.dpop_nonce is None else (("DPoP-Nonce", self.dpop_nonce),)
        return _json(200, answer, (*_NO_STORE, *nonce))

    def _thumbprint(self, request: Request) -> str | None:
        proofs = [value for name, value in request.headers if name == "dpop"]
        if not proofs:
            return None
        return proven(proofs, request, now=self.mint.clock(), nonce=self.dpop_nonce)

    def _introspection(self, request: Request) -> Response:
        parameters = form(request)
        bearer = (request.header("authorization") or "").partition(" ")
        if bearer[0].lower() == "bearer":  # RFC 7662 section 2.1: the caller may hold an access token instead
            if self.mint.introspect(bearer[2].strip())["active"] is not True:
                raise OAuthError("invalid_token", 401)
        else:
            self._client(request, parameters)
        if "token" not in parameters:
            raise OAuthError("invalid_request")
        answer = self.mint.introspect(parameters["token"])
        return _json(200, changed(answer, self.introspection_changes) if answer["active"] else answer, _NO_STORE)

    def _revocation(self, request: Request) -> Response:
        parameters = form(request)
        client = self._client(request, parameters)
        if "token" not in parameters:
            raise OAuthError("invalid_request")
        holder = self.mint.issued_to(parameters["token"])
        if holder is not None and holder != client.client_id:  # RFC 7009 section 2.1: rejected
            raise OAuthError("unauthorized_client")
        if holder is not None:
            self.mint.revoke(parameters["token"])
        return Response(200, b"", _NO_STORE)  # RFC 7009 section 2.2: an unknown token too

    def _client(self, request: Request, parameters: dict[str, str]) -> Client:
        return self.clients.authenticate(request, parameters, self._audiences(request))

    def _audiences(self, request: Request) -> tuple[str, ...]:
        return (self.mint.url, self.url("token"), request.url)


def _of_certificate(request: Request) -> dict[str, str]:
    """What a token is bound to whose client sends a certificate, in the field that a proxy writes (RFC 9440)."""
    values = [value for name, value in request.headers if name == "client-cert"]
    try:
        return {"x5t#S256": b64url(read_field(values[0], "rfc9440")[0])} if len(values) == 1 else {}
    except MalformedCertificateError:
        raise OAuthError("invalid_request") from None


def _json(status: int, document: Mapping[str, object], headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(status, json.dumps(dict(document)).encode(), (("Content-Type", "application/json"), *headers))
