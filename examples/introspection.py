"""Opaque tokens, validated by their issuer (RFC 7662). The secret is read from its file at each use. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    CLIENT_ID=orders-api CLIENT_SECRET_FILE=/run/secrets/orders-api python examples/introspection.py < tokens.txt
"""

import os
import sys
from pathlib import Path

from tokenguard import Introspection, Issuer, RejectedError, TokenValidator, UnavailableError

url = os.environ["TOKENGUARD_ISSUER"]
secret_file = Path(os.environ["CLIENT_SECRET_FILE"])

validator = TokenValidator(
    Issuer(
        url,
        introspection=Introspection(
            os.environ["CLIENT_ID"],
            lambda: secret_file.read_text("utf-8").strip(),  # a rotated secret is picked up
            cache_ttl=30,  # a revoked token may be accepted for so many seconds
            stale_ttl=0,  # above 0: in an outage of the issuer, answers of that age are still used
        ),
    ),
    audience=os.environ["TOKENGUARD_AUDIENCE"],
    allow_insecure_http=url.startswith("http://127.0.0.1:"),  # a development issuer
)


def main() -> None:
    with validator:
        for line in sys.stdin:
            try:
                token = validator.validate(line.strip())
            except RejectedError as error:
                print(f"rejected: {error.reason}")
            except UnavailableError as error:
                print(f"unavailable, try again in {error.retry_after} s")
            else:
                print(f"accepted: {token.client_id}, {' '.join(sorted(token.scopes)) or 'no scope'}")


if __name__ == "__main__":
    main()
