"""A test issuer as an httpx transport: no socket, for threads and event loops.

Owns: httpx messages in and out, what an outage looks like to httpx. Must not know: what endpoints answer.
"""

from __future__ import annotations

import httpx

from tokenguard.testing.authority import AuthorizationServer
from tokenguard.testing.traffic import Outage, Request, Response, over

__all__ = ["IssuerTransport", "handle"]


class IssuerTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Reaches the given issuers by URL, for `httpx.Client` and `httpx.AsyncClient` alike. Others refuse connections.

    On an event loop a hanging issuer does not block the loop. Closing does nothing: it holds nothing.
    """

    def __init__(self, *issuers: AuthorizationServer) -> None:
        if not issuers:
            raise ValueError("give at least one issuer")
        self._issuers = issuers

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, or raise what httpx raises for an unreachable server."""
        request.read()
        return handle(self._issuer(request), request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The same; waits without blocking the loop while the issuer hangs."""
        await request.aread()
        issuer = self._issuer(request)
        asked, outage = _receive(issuer, request)
        if outage is not None:
            waiting, early = outage.arrive(), _fail(outage, request)
            if early is not None:
                return early
            await over(waiting)
        return _written(issuer.respond(asked), request)

    def _issuer(self, request: httpx.Request) -> AuthorizationServer:
        url = _bare(request.url)
        return max(self._issuers, key=lambda issuer: (issuer.knows(url), issuer.hosts(url)))


def handle(issuer: AuthorizationServer, request: httpx.Request) -> httpx.Response:
    """Answer in this thread; blocks while the issuer hangs. A host that is not the issuer's refuses the connection."""
    asked, outage = _receive(issuer, request)
    if outage is not None:
        waiting, early = outage.arrive(), _fail(outage, request)
        if early is not None:
            return early
        waiting.result()
    return _written(issuer.respond(asked), request)


def _receive(issuer: AuthorizationServer, request: httpx.Request) -> tuple[Request, Outage | None]:
    url = _bare(request.url)
    headers = tuple((name.lower(), value) for name, value in request.headers.multi_items())
    query = request.url.query.decode("ascii")
    asked, outage = issuer.receive(Request(request.method, url, headers, request.content, query=query))
    if asked.endpoint == "other" and not issuer.hosts(url):
        raise httpx.ConnectError("no test issuer has this host", request=request)
    return asked, outage


def _fail(outage: Outage, request: httpx.Request) -> httpx.Response | None:
    if outage.mode == "refuse":
        raise httpx.ConnectError("connection refused (outage)", request=request)
    if outage.mode == "timeout":
        raise httpx.ReadTimeout("timed out (outage)", request=request)
    answer = outage.answer()
    return None if answer is None else _written(answer, request)


def _written(response: Response, request: httpx.Request) -> httpx.Response:
    return httpx.Response(response.status, headers=list(response.headers), content=response.body, request=request)


def _bare(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}{url.raw_path.decode('ascii').partition('?')[0]}"
