"""One request for metadata or keys, with its credential.

Owns: the credential and the TLS context of these requests. Must not know: when they are made, how an answer is read.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from tokenguard._flow.effects import Blocking, Flow, Request, Response, Send
from tokenguard._flow.messages import Endpoint
from tokenguard._oauth.fetch_credential import FetchCredential


@dataclass(frozen=True, slots=True)
class Fetch:
    """How an issuer's documents are fetched. Without `ssl_context` the validator's is used."""

    issuer: str = ""
    credential: FetchCredential | None = field(default=None, repr=False)
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)

    def get(self, url: str, headers: tuple[tuple[str, str], ...], endpoint: Endpoint) -> Flow[Response]:
        """The answer to a GET. Raises `ExchangeError`; `ConfigurationError` where the credential cannot be read."""
        if self.credential is not None and self.credential.goes_to(url):
            read = self.credential.headers
            headers += (yield Blocking(read, self.issuer)) if self.credential.calls_out else read()
        request = Request("GET", url, headers)
        answer: Response = yield Send(request, ssl_context=self.ssl_context, endpoint=endpoint, issuer=self.issuer)
        return answer
