"""A Celery worker whose tasks call an API. Settings: TOKENGUARD_CLIENT_ISSUER, _ID, _SECRET; PAYMENTS_URL; the broker.

CELERY_BROKER_URL=redis://localhost/0 PAYMENTS_URL=https://payments.example.com/payments \
    celery --workdir examples --app client_celery worker
"""

# Celery has no types of its own.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# mypy: disable-error-code="import-untyped, untyped-decorator, misc"
import os
from contextlib import suppress

import httpx
from celery import Celery, Task
from celery.signals import worker_init, worker_process_init

from tokenguard import TokenUnavailableError
from tokenguard.client import TokenSource
from tokenguard.httpx import AccessTokenAuth

app = Celery("payments", broker=os.environ.get("CELERY_BROKER_URL"))
url = os.environ["PAYMENTS_URL"]
tokens = TokenSource.from_env(allow_insecure_http=os.environ.get("ALLOW_HTTP") == "1")  # for development
connections: dict[str, httpx.Client] = {}


@worker_init.connect
def warm_up(**_: object) -> None:
    """Before the pool forks: its processes start with this token, and each renews it by itself."""
    with suppress(TokenUnavailableError):  # tasks wait for it
        tokens.warm_up()


@worker_process_init.connect
def connect(**_: object) -> None:
    """In each process of the pool: a source survives a fork, the connections of an HTTP client do not."""
    connections["payments"] = httpx.Client(auth=AccessTokenAuth(tokens, url))


@app.task(bind=True, max_retries=10)
def pay(self: Task, order: str) -> None:
    """Pay one order. Without a token nothing is sent: the task goes back to the queue with its order."""
    try:
        answer = connections["payments"].post(url, json={"order": order})
    except TokenUnavailableError as error:
        raise self.retry(exc=error, countdown=error.retry_after or 1) from error
    answer.raise_for_status()
