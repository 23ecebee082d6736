"""Call an API with requests. Settings: TOKENGUARD_CLIENT_ISSUER, _ID, _SECRET; the API's URL as argument.

python examples/client_requests.py https://payments.example.com/payments
"""

import os
import sys

import requests

from tokenguard.client import TokenSource
from tokenguard.requests import AccessTokenAuth

url = sys.argv[1]
tokens = TokenSource.from_env(allow_insecure_http=os.environ.get("ALLOW_HTTP") == "1")  # for development
with requests.Session() as session:
    session.auth = AccessTokenAuth(tokens, url)
    print(session.get(url, timeout=10).status_code)
