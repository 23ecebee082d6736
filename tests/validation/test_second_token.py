"""What one good token leaves behind (its header, its key, its issuer) must not help the next one through."""

import asyncio

import httpx
import pytest

from tokenguard import InvalidTokenError, Issuer, MissingTokenError, Reason, TokenValidator
from tokenguard._validation import steps
from tokenguard.asgi import BearerMiddleware
from tokenguard.testing import ABSENT, Clock, FakeIssuer
from tokenguard.wsgi import BearerMiddleware as WSGIMiddleware

API = "https://api.example.com"


def refusal(validator, token, **wanted):
    try:
        validator.validate(token, **wanted)
    except InvalidTokenError as error:
        return error.reason
    return None


@pytest.fixture(scope="module")
def issuer():
    return FakeIssuer()


def own(issuer, **settings):
    return Issuer(issuer.url, jwks=issuer.jwks(), **settings)


def test_every_bad_token_is_refused_after_a_good_one_as_before(issuer):
    fresh, used = (TokenValidator(own(issuer), API) for _ in range(2))
    used.validate(issuer.mint())
    for name, bad in issuer.bad_tokens().items():
        expected = refusal(fresh, bad.token)
        assert expected is not None, name
        assert refusal(used, bad.token) is expected, name
        used.validate(issuer.mint())


@pytest.mark.parametrize(
    ("settings", "claims", "expected"),
    [
        ({"required_claims": ("tenant",)}, {}, Reason.MISSING_CLAIM),
        ({"audience_claims": ("resource", "aud")}, {"tenant": "t", "resource": "another"}, Reason.AUDIENCE),
        ({"clients": {"web"}}, {"client_id": "cron"}, Reason.CLIENT),
        ({"client_id_claims": ("azp", "client_id")}, {"azp": 1}, Reason.INVALID_CLAIM),
        ({"claim_values": {"tenant": "t"}}, {"tenant": "u"}, Reason.INVALID_CLAIM),
        ({"profile": "rfc9068"}, {"jti": ABSENT}, Reason.MISSING_CLAIM),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) and value else "",
)
def test_what_an_issuer_asks_for_is_asked_of_every_token(issuer, settings, claims, expected):
    good = {"client_id": "web", "tenant": "t"}
    bad = {name: value for name, value in (good | claims).items() if name != "tenant" or "tenant" in claims}
    validator = TokenValidator(own(issuer, **settings), API)
    assert refusal(validator, issuer.mint(**good)) is None
    assert refusal(validator, issuer.mint(**bad)) is expected
    assert refusal(validator, issuer.mint(**good)) is None


def test_one_header_of_two_issuers():
    """Neither the key, nor the algorithms, nor the types of the one serve for the other."""
    one, two = FakeIssuer("https://one.example"), FakeIssuer("https://two.example")
    two.add_key("ES256")
    validator = TokenValidator([own(one), own(two, algorithms="ES256")], API)
    header = {"kid": ABSENT}
    assert refusal(validator, one.mint(header=header)) is None
    assert refusal(validator, two.mint(header=header)) is Reason.ALGORITHM
    validator = TokenValidator([own(one), own(two, profile="rfc9068")], API)
    header = {"kid": ABSENT, "typ": "JWT"}
    assert refusal(validator, one.mint(header=header)) is None
    assert refusal(validator, two.mint(header=header)) is Reason.TYPE
    two.withdraw(two.keys[-1].kid)
    validator = TokenValidator([own(one), own(two)], API)
    for _ in range(2):
        assert refusal(validator, one.mint(header=header)) is None
        assert refusal(validator, two.mint(header=header)) is None
        assert refusal(validator, one.mint(header=header, iss=two.url)) is Reason.SIGNATURE
        assert refusal(validator, two.mint(header=header, iss=one.url)) is Reason.SIGNATURE
        assert refusal(validator, one.mint(header=header, iss="https://three.example")) is Reason.ISSUER
        assert refusal(validator, one.mint(header=header, iss=[one.url])) is Reason.ISSUER


def test_one_header_without_a_kid_and_two_keys():
    issuer = FakeIssuer()
    second = issuer.add_key("RS256")
    validator = TokenValidator(own(issuer), API)
    for _ in range(3):
        assert refusal(validator, issuer.mint(header={"kid": ABSENT})) is None
        assert refusal(validator, issuer.mint(key=second, header={"kid": ABSENT})) is None
        assert refusal(validator, issuer.mint(key=issuer.stranger(), header={"kid": ABSENT})) is Reason.SIGNATURE


def test_a_kid_that_two_keys_share_after_a_refresh_names_neither():
    """Tokens that were validated before stay good, as their key is still there; a new one may be of either key."""
    clock, issuer = Clock(), FakeIssuer()
    documents = [issuer.jwks()]
    twin = issuer.stranger().jwk()

    def answer(request):
        return httpx.Response(200, json=documents[-1])

    validator = TokenValidator(
        Issuer(issuer.url, jwks_uri=f"{issuer.url}/jwks"),
        API,
        monotonic=clock,
        transport=httpx.MockTransport(answer),
    )
    kept = issuer.mint()
    first = validator.validate(kept)
    documents.append({"keys": [*documents[0]["keys"], twin]})
    clock.advance(10_000)  # past serving stale keys: the next token waits for the new set
    assert validator.validate(kept) is first
    assert refusal(validator, issuer.mint()) is Reason.UNKNOWN_KEY
    assert validator.validate(kept) is first


def test_what_headers_and_issuers_leave_behind_is_bounded(issuer, monkeypatch):
    monkeypatch.setattr(steps, "_REMEMBERED_BASES", 8)
    validator = TokenValidator([own(issuer), Issuer("https://two.example", jwks=issuer.jwks())], API)
    for number in range(30):
        for url in (issuer.url, "https://two.example"):
            validator.validate(issuer.mint(header={"x": number % 7}, iss=url))
            assert len(validator._validation._bases) <= 8
    validator.validate(issuer.mint(header={"x": "y" * 2_000}))
    assert not any(len(text) > 1_024 for text in validator._validation._headers)


# -- doors -------------------------------------------------------------------------------------------------------------


def absent(claims, now):
    raise MissingTokenError


async def asgi_status(app, token, query=b"", headers=None):
    sent = []

    async def send(message):
        sent.append(message)

    if headers is None:
        headers = [] if token is None else [(b"authorization", token)]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "query_string": query}
    await app(scope, None, send)
    return sent[0]["status"]


async def inside(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})


def wsgi_status(app, token, query=""):
    statuses = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": query}
    if token is not None:
        environ["HTTP_AUTHORIZATION"] = token.decode("latin-1")
    app(environ, lambda status, headers, exc_info=None: statuses.append(int(status[:3])))
    return statuses[0]


def within(environ, start_response):
    start_response("200 OK", [])
    return []


def doors(validator, **settings):
    asgi, wsgi = BearerMiddleware(inside, validator, **settings), WSGIMiddleware(within, validator, **settings)
    return (
        lambda token, query="": asyncio.run(asgi_status(asgi, token, query.encode())),
        lambda token, query="": wsgi_status(wsgi, token, query),
    )


def test_an_optional_door_is_not_opened_by_a_check_that_says_missing(issuer):
    for ask in doors(TokenValidator(own(issuer), API, checks=[absent]), optional=True):
        assert ask(None) == 200
        assert ask(b"Bearer " + issuer.mint().encode()) == 401


def test_a_remembered_token_is_no_second_method(issuer):
    token = issuer.mint().encode()
    for ask in doors(TokenValidator(own(issuer), API)):
        for _ in range(2):
            assert ask(b"Bearer " + token) == 200
            assert ask(b"Bearer " + token, "page=2&x=%20") == 200
            assert ask(b"Bearer " + token, "access_token=a") == 400
            assert ask(b"Bearer " + token, "%61ccess_token=a") == 400
            assert ask(b"Bearer " + token + b", Bearer " + token) == 400
            assert ask(b"Bearer " + token + b" ") == ask(b"\tBearer " + token + b" \t") == 200
            assert ask(b"Bearer " + token + b"\xa0") == 400
            assert ask(b"bearer   " + token) == 200
            assert ask(b"Bearer  " + token) == 200
            assert ask(b"Bearer \xe9" + token) == 400
            assert ask(b"Bearer " + token + b"=") == 401
            assert ask(b"Bearer ") == 400
            assert ask(b"Bearer" + token) == 401
            assert ask(None) == 401


def test_whoever_stands_in_for_a_validator_is_asked(issuer, monkeypatch):
    class Never(TokenValidator):
        def validate(self, raw, **wanted):
            raise InvalidTokenError(reason=Reason.CLIENT)

        async def validate_async(self, raw, **wanted):
            raise InvalidTokenError(reason=Reason.CLIENT)

    token = b"Bearer " + issuer.mint().encode()
    for ask in doors(Never(own(issuer), API)):
        assert ask(token) == 401
    validator = TokenValidator(own(issuer), API)
    asked = doors(validator)
    assert [ask(token) for ask in asked] == [200, 200]
    with monkeypatch.context() as patch:
        patch.setattr(validator, "validate", lambda raw, **wanted: None)
        patch.setattr(validator, "validate_async", lambda raw, **wanted: None)
        assert [ask(token) for ask in asked] == [500, 500]
    with monkeypatch.context() as patch:
        patch.setattr(TokenValidator, "validate", Never.validate)
        patch.setattr(TokenValidator, "validate_async", Never.validate_async)
        assert [ask(token) for ask in asked] == [401, 401]
    assert [ask(token) for ask in asked] == [200, 200]


def test_the_method_of_another_validator_is_a_stand_in(issuer):
    token = b"Bearer " + issuer.mint().encode()
    validator, other = TokenValidator(own(issuer), API), TokenValidator(own(issuer), "https://other.example")
    asked = doors(validator)
    assert [ask(token) for ask in asked] == [200, 200]
    validator.validate, validator.validate_async = other.validate, other.validate_async
    assert [ask(token) for ask in asked] == [401, 401]


class Proxy:
    """As instrumentation wraps methods: everything is forwarded but the call."""

    def __init__(self, wrapped):
        self._wrapped = wrapped

    def __get__(self, instance, owner):
        return Proxy(self._wrapped.__get__(instance, owner))

    def __getattr__(self, name):
        return getattr(self._wrapped, name)

    @property
    def __class__(self):
        return self._wrapped.__class__

    def __call__(self, *args, **wanted):
        raise InvalidTokenError(reason=Reason.REVOKED)


def test_a_wrapped_method_is_a_stand_in(issuer, monkeypatch):
    token = b"Bearer " + issuer.mint().encode()
    asked = doors(TokenValidator(own(issuer), API))
    monkeypatch.setattr(TokenValidator, "validate", Proxy(TokenValidator.validate))
    monkeypatch.setattr(TokenValidator, "validate_async", Proxy(TokenValidator.validate_async))
    assert [ask(token) for ask in asked] == [401, 401]


@pytest.mark.parametrize("optional", [False, True])
def test_headers_that_can_be_read_only_once(issuer, optional):
    good = issuer.mint().encode()
    for values, expected in [
        ([b"Bearer " + good], 200),
        ([b"bearer " + good], 200),
        ([bytearray(b"Bearer " + good)], 200),
        ([b"Bearer a b"], 400),
        ([b"Bearer " + good + b"="], 401),
        ([b"Bearer " + b"a" * 20_000], 401),
        ([b"Bearer " + good] * 2, 400),
        ([], 200 if optional else 401),
    ]:
        app = BearerMiddleware(inside, TokenValidator(own(issuer), API), optional=optional)
        for _ in range(2):
            assert asyncio.run(asgi_status(app, None, headers=iter((b"authorization", one) for one in values))) == (
                expected
            ), values


def test_what_is_no_credential_is_told_without_a_look_at_the_clock(issuer):
    def broken():
        raise ValueError

    for ask in doors(TokenValidator(own(issuer), API, clock=broken)):
        assert ask(b"Bearer a b") == 400
        assert ask(b"Bearer " + issuer.mint().encode()) == 500


def test_a_transport_for_threads_alone_is_told_of_at_once(issuer):
    class Threads(httpx.BaseTransport):
        def handle_request(self, request):
            raise AssertionError

    ask, _ = doors(TokenValidator(own(issuer), API, transport=Threads()))
    assert ask(b"Bearer " + issuer.mint().encode()) == 500
