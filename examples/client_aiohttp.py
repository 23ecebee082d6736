"""Call an API with aiohttp: a middleware for its client. Settings: TOKENGUARD_CLIENT_ISSUER, _ID, _SECRET.

python examples/client_aiohttp.py https://payments.example.com/payments
"""

import asyncio
import os
import sys

import aiohttp
from yarl import URL

from tokenguard import ConfigurationError
from tokenguard.client import TokenSource

url = URL(sys.argv[1])
tokens = TokenSource.from_env(allow_insecure_http=os.environ.get("ALLOW_HTTP") == "1")  # for development


async def authorize(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    if request.url.origin() != url.origin():
        raise ConfigurationError("a request, or a redirect, to another origin")
    token = await tokens.token_async()
    request.headers["Authorization"] = token.authorization
    response = await handler(request)
    if response.status == 401:  # the next call, or this one repeated by you, waits for another token
        tokens.discard(token)
    return response


async def main() -> None:
    async with aiohttp.ClientSession(middlewares=(authorize,)) as session, session.get(url) as response:
        print(response.status)


asyncio.run(main())
