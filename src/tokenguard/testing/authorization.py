"""The authorization endpoint of a test issuer (RFC 6749 section 4.1, RFC 9207). FOR DEVELOPMENT ONLY: no passwords.

Owns: what an authorization request must be, its errors, the way back to the application. Must not know: how the page
looks (`login_page`), what a token holds, sockets.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from tokenguard.testing import login_page
from tokenguard.testing.browsers import is_loopback, origin_of
from tokenguard.testing.clients import Client, Clients, OAuthError, granted_scope
from tokenguard.testing.codes import CHALLENGE, Codes, Grant
from tokenguard.testing.minting import Mint
from tokenguard.testing.traffic import Request, Response

__all__ = ["Authorization"]

# RFC 6749 section 4.1.2.1. What a developer reads in the application or in Swagger.
_TEXTS: Final = {
    "repeated": "a parameter is there more than once",
    "response_type": "response_type must be code",
    "response_mode": "response_mode must be query",
    "pkce": "code_challenge, 43 characters of base64url, and code_challenge_method=S256 are required (RFC 7636)",
    "scope": "the client may not have this scope",
    "denied": "the person said no",
}
_FORM: Final = "application/x-www-form-urlencoded"


class _Refused(Exception):  # noqa: N818  it goes back to the application
    """An error for the application: a code of RFC 6749 section 4.1.2.1, and a constant text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code)
        self.code = code
        self.text = _TEXTS[text]


class _NobodyToTell(Exception):  # noqa: N818  it goes to the person
    """An error that must not be sent anywhere: the client or its redirection URI is not one of ours."""


@dataclass(frozen=True, slots=True)
class _Back:
    """The URL that the browser returns to, and the parameters that it always has."""

    redirect_uri: str
    always: dict[str, str]

    def to(self, **parameters: str) -> Response:
        """RFC 9700 section 4.11: 303, so that nothing of a form is sent on."""
        # Not "+" for a space: `decodeURIComponent`, which applications in browsers use, leaves it.
        query = urlencode({**parameters, **self.always}, quote_via=quote)
        sign = "&" if "?" in self.redirect_uri else "?"
        return Response(303, b"", (("Location", f"{self.redirect_uri}{sign}{query}"), *login_page.SAFE))


class Authorization:
    """Asks which of `people` it is, and gives a code. No password is asked for: this is for development."""

    def __init__(self, mint: Mint, clients: Clients, people: Collection[str], codes: Codes) -> None:
        self._mint = mint
        self._clients = clients
        self._people = people
        self._codes = codes

    def answer(self, request: Request) -> Response:
        """The login page, or the way back. Never raises."""
        try:
            values, repeated = _parameters(request)
            client, back = self._known(values, repeated)
        except _NobodyToTell as error:
            return login_page.wrong(str(error))
        try:
            grant = self._asked(values, repeated, client)
            if request.method == "POST" and "deny" in values:
                raise _Refused("access_denied", "denied")
        except _Refused as error:
            return back.to(error=error.code, error_description=error.text)
        if request.method == "POST" and values.get("person") in self._people:
            return back.to(code=self._codes.add(replace(grant, subject=values["person"])))
        return login_page.choice(values, self._people, grant.client_id, grant.scope, origin_of(grant.redirect_uri))

    def _known(self, values: dict[str, str], repeated: set[str]) -> tuple[Client, _Back]:
        """The client, and the way back to it, which is trusted from here on (RFC 6749 section 4.1.2.1)."""
        client = self._clients.find(values.get("client_id", ""))
        if client is None or "client_id" in repeated:
            raise _NobodyToTell("client_id must name a client of this issuer, once")
        redirect_uri = values.get("redirect_uri", "")
        if "redirect_uri" in repeated or not is_loopback(redirect_uri):
            raise _NobodyToTell(
                "redirect_uri must be there once: http or https on 127.0.0.1, [::1] or localhost, without a fragment"
            )
        always = {"iss": self._mint.url}  # RFC 9207 section 2
        if "state" in values and "state" not in repeated:
            always["state"] = values["state"]
        return client, _Back(redirect_uri, always)

    def _asked(self, values: dict[str, str], repeated: set[str], client: Client) -> Grant:
        """What a person may agree to, before it is known which person. Raises `_Refused`."""
        if repeated:
            raise _Refused("invalid_request", "repeated")
        if "response_type" not in values:
            raise _Refused("invalid_request", "response_type")
        if values["response_type"] != "code":
            raise _Refused("unsupported_response_type", "response_type")
        if values.get("response_mode", "query") != "query":
            raise _Refused("invalid_request", "response_mode")
        challenge = values.get("code_challenge", "")
        if values.get("code_challenge_method") != "S256" or CHALLENGE.fullmatch(challenge) is None:
            raise _Refused("invalid_request", "pkce")
        try:
            scope = granted_scope(client, values.get("scope", ""))
        except OAuthError:
            raise _Refused("invalid_scope", "scope") from None
        return Grant(
            client_id=client.client_id,
            redirect_uri=values["redirect_uri"],
            challenge=challenge,
            subject="",
            scope=scope,
            target=values.get("resource", values.get("audience")),  # RFC 8707 section 2.1, or the habit before it
            signed_in_at=int(self._mint.clock()),
        )


def _parameters(request: Request) -> tuple[dict[str, str], set[str]]:
    """The parameters, and the names of those that are there more than once (RFC 6749 section 3.1)."""
    text = request.query
    if request.method == "POST":
        origin = request.header("origin")
        if origin is not None and not is_loopback(origin):  # a form on a site that is open beside
            raise _NobodyToTell("the form must be this page's own")
        if (request.header("content-type") or "").partition(";")[0].strip().lower() != _FORM:
            raise _NobodyToTell("a form is required")
        text = request.body.decode("latin-1")
    try:
        pairs = parse_qsl(text, errors="strict")
    except ValueError:
        raise _NobodyToTell("the parameters must be UTF-8, and at most a thousand") from None
    values: dict[str, str] = {}
    repeated: set[str] = set()
    for name, value in pairs:
        if name in values:
            repeated.add(name)
        values.setdefault(name, value)
    return values, repeated
