"""Threads that take jobs from a queue; each job carries the access token of its caller. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    python examples/worker.py < jobs.jsonl          # lines of {"job": "...", "token": "..."}
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from tokenguard import RejectedError, TokenValidator, UnavailableError


def work(validator: TokenValidator, line: str) -> str:
    message = json.loads(line)
    try:
        token = validator.validate(message["token"], scope="jobs:run")
    except RejectedError as error:
        return f"{message['job']}: dropped ({error.reason})"  # the token will not become good
    except UnavailableError as error:
        return f"{message['job']}: put back for {error.retry_after} s"  # could not be checked: try again
    return f"{message['job']}: done for {token.subject}"


def main() -> None:
    with TokenValidator.from_env() as validator, ThreadPoolExecutor(4) as pool:
        for outcome in pool.map(lambda line: work(validator, line), sys.stdin):
            print(outcome, flush=True)


if __name__ == "__main__":
    main()
