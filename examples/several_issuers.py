"""Two issuers, each with its own keys, algorithms and audience; a token's `iss` selects one. Run it with

STAFF_ISSUER=https://login.example.com/ PARTNER_ISSUER=https://partner.example PARTNER_JWKS=partner-jwks.json \
    python examples/several_issuers.py < tokens.txt
"""

import json
import os
import sys
from pathlib import Path

from tokenguard import Issuer, RejectedError, TokenValidator

validator = TokenValidator(
    [
        # Discovered (RFC 8414), RFC 9068 tokens only.
        Issuer(os.environ["STAFF_ISSUER"], profile="rfc9068", algorithms=["RS256"]),
        # Keys from a file: nothing is fetched. Its tokens name this API differently.
        Issuer(
            os.environ["PARTNER_ISSUER"],
            jwks=json.loads(Path(os.environ["PARTNER_JWKS"]).read_text("utf-8")),
            algorithms=["ES256"],
            audience="orders-api",
        ),
    ],
    audience="https://api.example.com",
    allow_insecure_http=os.environ["STAFF_ISSUER"].startswith("http://127.0.0.1:"),  # a development issuer
)


def main() -> None:
    with validator:
        for line in sys.stdin:
            try:
                token = validator.validate(line.strip())
            except RejectedError as error:
                print(f"rejected: {error.reason}")
            else:
                print(f"accepted: {token.subject}, by {token.issuer}")


if __name__ == "__main__":
    main()
