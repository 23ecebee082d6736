"""`AccessTokenAuth` for requests: a token with every request to one API, and with no other. Extra `requests`.

Owns: what `requests` asks of an auth: a callable and a hook. Must not know: how a token is got, what a 401 means
(`_adapters.outgoing`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any
from urllib.parse import urljoin

from requests import PreparedRequest, Response
from requests.auth import AuthBase
from requests.cookies import extract_cookies_to_jar
from requests.exceptions import UnrewindableBodyError
from requests.utils import rewind_body
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from tokenguard._adapters.outgoing import Outgoing, Verdict, is_another
from tokenguard._oauth.origin import Origin
from tokenguard.client import IssuedToken, TokenSource
from tokenguard.errors import TokenGuardError

__all__ = ["AccessTokenAuth"]


class AccessTokenAuth(AuthBase):
    """Give it to a session or a request: `session.auth = AccessTokenAuth(tokens, origin)`. The rules are those of
    `tokenguard.httpx.AccessTokenAuth`.

    - `tokens`: gives the tokens
    - `origin`: one or several URLs of the API, of which scheme, host and port count
    - `scope`, `resource`, `audience`: as `TokenSource.token` has them
    """

    def __init__(
        self,
        tokens: TokenSource,
        origin: str | Iterable[str],
        *,
        scope: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        audience: str | Iterable[str] | None = None,
    ) -> None:
        self._outgoing = Outgoing(tokens, origin, scope=scope, resource=resource, audience=audience)

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Authorize a request that is about to be sent."""
        self._outgoing.check(_origin(r.url))
        token = self._outgoing.token()
        self._authorize(r, token)
        r.register_hook("response", partial(self._answered, token))  # type: ignore[no-untyped-call]
        return r

    def _authorize(self, request: PreparedRequest, token: IssuedToken) -> None:
        request.headers["Authorization"] = token.authorization
        if self._outgoing.needs_proofs:
            request.headers["DPoP"] = self._outgoing.proof(token, request.method or "", request.url or "")

    def _answered(self, token: IssuedToken, response: Response, **settings: Any) -> Response:
        last = self._last_answer(token, response, settings)
        if last.is_redirect:
            self._prepare_redirect(response.request, last)
        return last

    def _last_answer(self, token: IssuedToken, response: Response, settings: dict[str, Any]) -> Response:
        """The answer to the request, or to the same one once more."""
        verdict = self._read(token, response)
        if verdict == "nonce":
            repeated = self._again(token, response, settings)
            if repeated is None:
                return response
            response, verdict = repeated, self._read(token, repeated)
        if verdict == "discarded":
            try:
                another = self._outgoing.token()
            except TokenGuardError:
                return response
            repeated = self._again(another, response, settings) if is_another(another, token) else None
            if repeated is not None:
                self._read(another, repeated)
                return repeated
        return response

    def _read(self, token: IssuedToken, response: Response) -> Verdict:
        # urllib3 keeps fields of one name apart; requests joins them, which the grammar allows.
        challenges, nonce = response.headers.get("www-authenticate"), response.headers.get("dpop-nonce")
        return self._outgoing.answered(
            token,
            response.status_code,
            _origin(response.request.url),
            response.request.url or "",
            response.request.headers.get("authorization"),
            [] if challenges is None else [challenges],
            nonce,
        )

    def _again(self, token: IssuedToken, response: Response, settings: dict[str, Any]) -> Response | None:
        """The same request once more. None where its body cannot be sent twice."""
        sent: Any = response.request
        again = sent.copy()
        if not (again.body is None or isinstance(again.body, str | bytes)):
            try:
                rewind_body(again)
            except UnrewindableBodyError:
                return None
        response.content  # noqa: B018 - read to its end, so that the connection can be used again
        response.close()
        jar = again._cookies  # noqa: SLF001 - as the library's own digest auth does
        extract_cookies_to_jar(jar, sent, response.raw)  # type: ignore[no-untyped-call]
        again.prepare_cookies(jar)
        self._authorize(again, token)
        repeated: Response = response.connection.send(again, **settings)
        repeated.history.append(response)
        repeated.request = again
        return repeated

    def _prepare_redirect(self, first: PreparedRequest, redirecting: Response) -> None:
        """Give the request behind a redirect the token that was sent last, and none at another origin. The session
        copies that request from `first`, also where it was repeated."""
        elsewhere = _origin(urljoin(redirecting.url, redirecting.headers["location"])) not in self._outgoing.origins
        for name in ("Authorization", "DPoP"):
            sent = redirecting.request.headers.get(name)
            if elsewhere or sent is None:
                first.headers.pop(name, None)
            else:
                first.headers[name] = sent


def _origin(url: str | None) -> Origin:
    """As the library reads a URL, which is what decides where the request goes."""
    try:
        parts = parse_url(url or "")
    except LocationParseError:
        return Origin("", "", None)
    return Origin.of(parts.scheme or "", (parts.host or "").strip("[]"), parts.port)
