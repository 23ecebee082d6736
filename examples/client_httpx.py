"""Call an API with httpx. Settings: TOKENGUARD_CLIENT_ISSUER, _ID, _SECRET; the API's URL as argument.

python examples/client_httpx.py https://payments.example.com/payments
"""

import os
import sys

import httpx

from tokenguard.client import TokenSource
from tokenguard.httpx import AccessTokenAuth

url = sys.argv[1]
tokens = TokenSource.from_env(allow_insecure_http=os.environ.get("ALLOW_HTTP") == "1")  # for development
with httpx.Client(auth=AccessTokenAuth(tokens, url)) as client:
    print(client.get(url).status_code)
