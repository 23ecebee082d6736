"""`AccessTokenAuth` for httpx and httpx2: a token with every request to one API, and with no other.

Owns: what these clients ask of an `Auth`. Must not know: how a token is got, what a 401 means (`_adapters.outgoing`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tokenguard._adapters.outgoing import Outgoing, Verdict, is_another
from tokenguard._io.libraries import preferred
from tokenguard._oauth.origin import Origin
from tokenguard.client import IssuedToken, TokenSource
from tokenguard.errors import TokenGuardError

__all__ = ["AccessTokenAuth"]

if TYPE_CHECKING:
    import httpx
    import httpx2

    class _Auth(httpx.Auth, httpx2.Auth): ...  # type: ignore[misc] # each speaks of its own requests

else:
    _Auth = type("_Auth", tuple({library.Auth for library in (preferred(), import_module("httpx"))}), {})

_IN_MEMORY: Any = tuple({library.ByteStream for library in (preferred(), import_module("httpx"))})


class AccessTokenAuth(_Auth):
    """Give it to `Client` or `AsyncClient`, of httpx or httpx2: `auth=AccessTokenAuth(tokens, origin)`.

    - `tokens`: gives the tokens
    - `origin`: one or several URLs of the API, of which scheme, host and port count
    - `scope`, `resource`, `audience`: as `TokenSource.token` has them

    A request to any other origin is a `ConfigurationError` before anything is sent; where there is no token, the error
    of the source leaves the call and nothing is sent. A 401 from the origin discards the token and repeats the request
    once with another one, unless the API names another error than `invalid_token`, the body cannot be sent twice, or
    there is no other token: then the 401 is the answer. Behind redirects it is the last request that is repeated. A
    redirect to another origin carries no token, but for one that httpx itself takes for the same: from http, which only
    development allows, to https of one host. With DPoP follow no redirects, since a proof names one URL.

    Raises `ConfigurationError`, with what to write instead.
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
        self._checked: set[tuple[str, bytes, int | None]] = set()

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """For `Client`."""
        self._check(request.url)
        token = self._outgoing.token()
        answer = yield self._authorized(request, token)
        verdict = self._read(token, answer)
        if verdict == "nonce" and _can_be_sent_again(answer.request):
            answer = yield self._authorized(answer.request, token)
            verdict = self._read(token, answer)
        if verdict == "discarded" and _can_be_sent_again(answer.request):
            try:
                another = self._outgoing.token()
            except TokenGuardError:
                return
            if is_another(another, token):
                self._read(another, (yield self._authorized(answer.request, another)))

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """For `AsyncClient`."""
        self._check(request.url)
        token = await self._outgoing.token_async()
        answer = yield self._authorized(request, token)
        verdict = self._read(token, answer)
        if verdict == "nonce" and _can_be_sent_again(answer.request):
            answer = yield self._authorized(answer.request, token)
            verdict = self._read(token, answer)
        if verdict == "discarded" and _can_be_sent_again(answer.request):
            try:
                another = await self._outgoing.token_async()
            except TokenGuardError:
                return
            if is_another(another, token):
                self._read(another, (yield self._authorized(answer.request, another)))

    def _check(self, url: Any) -> None:
        seen = url.scheme, url.raw_host, url.port
        if seen not in self._checked:
            self._outgoing.check(_origin(url))
            self._checked.add(seen)  # few: only what passed

    def _authorized(self, request: Any, token: IssuedToken) -> Any:
        request.headers["Authorization"] = token.authorization
        if self._outgoing.needs_proofs:
            request.headers["DPoP"] = self._outgoing.proof(token, request.method, str(request.url))
        return request

    def _read(self, token: IssuedToken, response: Any) -> Verdict:
        if self._outgoing.is_plain(response.status_code):
            return "done"
        # Redirects are followed inside of this: the answer may be another request's, which then is the one to repeat.
        # What went before it was answered, and a POST may have been carried out.
        url, fields = response.request.url, response.headers
        sent = response.request.headers.get("authorization")
        challenges = fields.get_list("www-authenticate")
        nonce = fields.get("dpop-nonce")
        return self._outgoing.answered(token, response.status_code, _origin(url), str(url), sent, challenges, nonce)


def _origin(url: Any) -> Origin:
    return Origin.of(url.scheme, url.raw_host.decode("ascii"), url.port)


def _can_be_sent_again(request: Any) -> bool:
    """Whether the body is in memory, or made of parts that are, or that can be read from their beginning again."""
    fields = getattr(request.stream, "fields", None)
    if fields is not None:  # a form with files
        files = [getattr(field, "file", b"") for field in fields]
        return all(isinstance(file, str | bytes) or (hasattr(file, "seekable") and file.seekable()) for file in files)
    return isinstance(request.stream, _IN_MEMORY)
