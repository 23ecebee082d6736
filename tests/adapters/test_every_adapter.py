"""One table of requests through every adapter: the same status, challenge and body at each of them."""

from __future__ import annotations

import asyncio
from typing import Annotated

import pytest
from fastapi import FastAPI, Security
from observed_validators import WAYS
from raw_requests import ask, challenge
from request_table import (
    GOOD,
    ISSUER,
    REQUESTS,
    SCOPE,
    SETTINGS,
    VALIDATOR,
    bearer,
    check,
    columns,
    plain_asgi,
    plain_wsgi,
)

from tokenguard import asgi, fastapi, flask, starlette, wsgi
from tokenguard.challenge import reject
from tokenguard.errors import (
    ConfigurationError,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
)
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.token import AccessToken

UNREACHABLE = FakeIssuer("https://unreachable.example", clock=Clock())
UNREACHABLE.outage().start()

COLUMNS = columns(VALIDATOR)
WITH_REASON = columns(VALIDATOR, settings={**SETTINGS, "show_reason": True})
OUTAGE = columns(UNREACHABLE.validator(monotonic=lambda: 0.0))


def check_challenge(column, answer, error):
    """The table compares texts; this reads what they mean."""
    parameters = challenge(answer.header("www-authenticate"))
    assert parameters["realm"] == SETTINGS["realm"]
    assert ("resource_metadata" in parameters) == (column.names_metadata and not isinstance(error, InvalidRequestError))
    listed = isinstance(error, InsufficientScopeError) or (column.lists_scope and answer.status == 401)
    assert (parameters.get("scope") == " ".join(SCOPE)) == listed


def test_what_a_column_cannot_express_is_a_row_and_has_a_reason():
    for name, column in COLUMNS.items():
        assert column.cannot.keys() <= REQUESTS.keys(), name
        assert all(column.cannot.values()), name
        assert len(column.cannot) < len(REQUESTS) / 2, name


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", REQUESTS)
def test_a_rejection_is_the_same_from_every_adapter(column, row):
    if row in COLUMNS[column].cannot:
        return
    query, fields, error = REQUESTS[row]
    answer = COLUMNS[column].ask("GET", query, fields)
    check(COLUMNS[column], answer, error)
    check_challenge(COLUMNS[column], answer, error)
    check(COLUMNS[column], WITH_REASON[column].ask("GET", query, fields), error, show_reason=True)


@pytest.mark.parametrize("way", WAYS)
def test_the_table_is_answered_the_same_whatever_the_validator_is(way):
    validator = WAYS[way](ISSUER.validator())
    for column in columns(validator).values():
        for row, (query, fields, error) in REQUESTS.items():
            if row not in column.cannot:
                check(column, column.ask("GET", query, fields), error)
        for _ in range(2):  # the second time where it may be remembered
            assert column.ask("GET", "", bearer(GOOD)).status == column.accepted
    if way == "instrumented":
        assert {"sync", "async"} == set(validator.calls)


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
@pytest.mark.parametrize("row", ["no header", "the scheme alone", "not a token", "no scope"])
def test_a_rejection_does_not_depend_on_the_method(column, row):
    query, fields, error = REQUESTS[row]
    for method in column.methods:
        check(column, column.ask(method, query, fields), error, method)


def test_flask_answers_options_itself():
    for name in ("flask sync", "flask async"):
        answer = COLUMNS[name].ask("OPTIONS", "", ())
        assert (answer.status, answer.body) == (200, b"")
        assert {name for name, _ in answer.headers} == {"allow", "content-type", "content-length"}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
@pytest.mark.parametrize(
    ("scheme", "end"), [("Bearer", ""), ("bearer", ""), ("BEARER  ", ""), ("Bearer", " "), (" \tBearer", "\t ")]
)
def test_a_good_token_passes_every_adapter(column, scheme, end):
    for method in column.methods:
        answer = column.ask(method, "a=access_token", [("Authorization", f"{scheme} {GOOD}{end}")])
        assert answer.status == column.accepted
        assert answer.body in (b"reached", b"")  # a handshake has none; some leave that of HEAD to the server


@pytest.mark.parametrize("column", OUTAGE.values(), ids=OUTAGE)
def test_an_outage_is_unavailable_from_every_adapter(column):
    answer = column.ask("GET", "", bearer(UNREACHABLE.mint(" ".join(SCOPE))))
    check(column, answer, KeysUnavailableError(retry_after=int(answer.header("retry-after") or 0)))
    assert answer.header("www-authenticate") is None


VALIDATED = {
    name: row for name, row in REQUESTS.items() if isinstance(row[2], InvalidTokenError | InsufficientScopeError)
}


@pytest.mark.parametrize("row", VALIDATED.values(), ids=VALIDATED)
def test_the_validator_decides_the_same_without_an_adapter(row):
    _, [(_, value)], error = row
    assert isinstance(value, bytes)
    raw = value.removeprefix(b"Bearer ").decode()
    for validate in (
        lambda: VALIDATOR.validate(raw, scope=SCOPE),
        lambda: asyncio.run(VALIDATOR.validate_async(raw, scope=SCOPE)),
    ):
        with pytest.raises(type(error)) as caught:
            validate()
        assert caught.value.reason is error.reason
        assert reject(caught.value, show_reason=True) == reject(error, show_reason=True)


@pytest.mark.parametrize("text", ["", " ", "   "], ids=repr)
def test_a_scope_text_without_a_name_is_an_error_wherever_a_scope_is_asked_for(text):
    """What an unset variable leaves: `scope=os.environ.get("SCOPE", "")` must not ask for nothing."""
    for asks in (
        lambda: VALIDATOR.validate(ISSUER.mint(), scope=text),
        lambda: asyncio.run(VALIDATOR.validate_async(ISSUER.mint(), scope=text)),
        lambda: asgi.BearerMiddleware(plain_asgi, VALIDATOR, scope=text),
        lambda: wsgi.BearerMiddleware(plain_wsgi, VALIDATOR, scope=text),
        lambda: starlette.require_scope(text),
        lambda: flask.require_scope(text),
    ):
        with pytest.raises(ConfigurationError, match="scope"):
            asks()


@pytest.mark.parametrize("text", ["", " "], ids=repr)
def test_a_fastapi_route_that_asks_for_a_scope_without_a_name_is_never_open(text):
    app, bearer = FastAPI(), fastapi.BearerToken(VALIDATOR)

    async def route(token):
        raise AssertionError("reached")

    route.__annotations__ = {"token": Annotated[AccessToken, Security(bearer, scopes=[text])]}
    app.get("/")(route)
    fields = [("Authorization", f"Bearer {ISSUER.mint()}")]
    assert asyncio.run(ask(app, "GET", "/", "", fields)).status == 500
