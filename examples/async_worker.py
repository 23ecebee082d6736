"""Tasks that take jobs from an asyncio queue; each job carries the access token of its caller. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    python examples/async_worker.py < jobs.jsonl    # lines of {"job": "...", "token": "..."}
"""

import asyncio
import json
import sys

from tokenguard import RejectedError, TokenValidator, UnavailableError


async def work(validator: TokenValidator, queue: asyncio.Queue[str]) -> None:
    while not queue.empty():
        message = json.loads(queue.get_nowait())
        try:
            token = await validator.validate_async(message["token"], scope="jobs:run")
        except RejectedError as error:
            print(f"{message['job']}: dropped ({error.reason})")  # the token will not become good
        except UnavailableError as error:
            print(f"{message['job']}: put back for {error.retry_after} s")  # could not be checked: try again
        else:
            print(f"{message['job']}: done for {token.subject}")


async def main() -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()
    for line in sys.stdin:
        queue.put_nowait(line)
    async with TokenValidator.from_env() as validator, asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(work(validator, queue))


if __name__ == "__main__":
    asyncio.run(main())
