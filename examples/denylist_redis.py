"""A denylist in Redis: what one process revokes, every process rejects from its next request on. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com REDIS_URL=redis://localhost/0 \
    python examples/denylist_redis.py check < tokens.txt     # or: revoke, logout
"""

import os
import sys
import time

from tokenguard import RejectedError, TokenValidator, UnavailableError
from tokenguard.redis import RedisStore
from tokenguard.revocations import RevocationList

LONGEST_LIFE = 3600  # seconds; no token of this issuer lives longer

store = RedisStore(os.environ["REDIS_URL"])  # local_copy_max_age=5 saves round trips and delays a revocation by 5 s
denylist = RevocationList(store)


def main(command: str) -> None:
    with store, TokenValidator.from_env(revocations=denylist) as validator:
        for line in sys.stdin:
            try:
                token = validator.validate(line.strip())
                now = time.time()
                if command == "revoke" and token.token_id:  # this token
                    denylist.revoke(token.issuer, token.token_id, token.expires_at or now + LONGEST_LIFE)
                    print(f"revoked: {token.token_id}")
                elif command == "logout" and token.subject:  # every token that this subject has now
                    denylist.revoke_subject(token.issuer, token.subject, now, now + LONGEST_LIFE)
                    print(f"logged out: {token.subject}")
                else:
                    print(f"accepted: {token.subject}")
            except RejectedError as error:
                print(f"rejected: {error.reason}")
            except UnavailableError as error:  # the issuer's keys, or Redis, unreachable: no token passes
                print(f"unavailable, try again in {error.retry_after} s")


if __name__ == "__main__":
    main(sys.argv[1])
