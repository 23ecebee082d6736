"""`AccessTokenAuth`: a token with every request to one API and with no other, one repeat on 401.

Every rule runs through httpx and httpx2, sync and async, and through requests against a real server.
"""

import asyncio
import io
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import httpx2
import jwt
import pytest
import requests
from hostile_server import HostileServer
from token_endpoint import Time, TokenEndpoint

import tokenguard.httpx
import tokenguard.requests
from tokenguard import ConfigurationError, TokenRefusedError, TokenUnavailableError
from tokenguard._adapters.outgoing import Outgoing
from tokenguard._oauth.challenges import errors

API = "https://api.example.com"


class Api:
    """An API that answers what `answers` holds in turn, then 200. It keeps what it was asked."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.asked = []  # (url, Authorization, DPoP, body)

    def answer(self, url, headers, body):
        self.asked.append((url, headers.get("authorization"), headers.get("dpop"), body))
        return self.answers.pop(0) if self.answers else (200, {})

    @property
    def tokens(self):
        return [authorization for _, authorization, _, _ in self.asked]


def transport(library, api):
    def handle(request):
        status, headers = api.answer(str(request.url), request.headers, request.read())
        return library.Response(status, headers=headers)

    class Both(library.MockTransport):
        async def handle_async_request(self, request):
            await request.aread()
            return handle(request)

    return Both(handle)


def sync_client(library):
    def send(api, auth, method="GET", url=f"{API}/orders", **more):
        redirects = more.pop("follow_redirects", False)
        with library.Client(transport=transport(library, api), auth=auth, follow_redirects=redirects) as client:
            return client.request(method, url, **more)

    send.auth = tokenguard.httpx.AccessTokenAuth
    return send


def async_client(library):
    def send(api, auth, method="GET", url=f"{API}/orders", **more):
        redirects = more.pop("follow_redirects", False)

        async def asked():
            async with library.AsyncClient(
                transport=transport(library, api), auth=auth, follow_redirects=redirects
            ) as client:
                return await client.request(method, url, **more)

        return asyncio.run(asked())

    send.auth = tokenguard.httpx.AccessTokenAuth
    return send


class Adapter(requests.adapters.HTTPAdapter):
    """A transport for requests, below everything of that library that decides."""

    def __init__(self, api) -> None:
        super().__init__()
        self.api = api

    def send(self, request, **_):
        body = request.body
        if hasattr(body, "read"):
            body = body.read()
        elif body is not None and not isinstance(body, str | bytes):
            body = b"".join(body)
        status, headers = self.api.answer(request.url, request.headers, body)
        response = requests.Response()
        response.status_code = status
        response.headers.update(headers)
        response.raw = Raw()
        response.url, response.request, response.connection = request.url, request, self
        return response


class Raw(io.BytesIO):
    def release_conn(self): ...


def with_requests(api, auth, method="GET", url=f"{API}/orders", *, follow_redirects=False, content=None, **more):
    with requests.Session() as session:
        session.trust_env = False
        session.auth = auth
        session.mount("https://", Adapter(api))
        session.mount("http://", Adapter(api))
        return session.request(method, url, allow_redirects=follow_redirects, data=content, **more)


with_requests.auth = tokenguard.requests.AccessTokenAuth

CLIENTS = {
    "httpx": sync_client(httpx),
    "httpx-async": async_client(httpx),
    "httpx2": sync_client(httpx2),
    "httpx2-async": async_client(httpx2),
    "requests": with_requests,
}


@pytest.fixture(params=CLIENTS)
def send(request):
    return CLIENTS[request.param]


def challenge(text):
    return (401, {"WWW-Authenticate": text})


NO = challenge('Bearer realm="api", error="invalid_token"')


# -- origins -----------------------------------------------------------------------------------------------------------


def test_each_request_carries_the_token(send):
    api, endpoint = Api(), TokenEndpoint()
    auth = send.auth(endpoint.source(), API, scope="a", resource=["https://x.example/"], audience="y")
    assert send(api, auth).status_code == 200
    assert send(api, auth, "POST", f"{API}:443/pay", content=b"42").status_code == 200
    assert api.tokens == ["Bearer token-1"] * 2
    assert api.asked[1][3] == b"42"
    assert {name: endpoint.forms[0][name] for name in ("scope", "resource", "audience")} == {
        "scope": "a",
        "resource": "https://x.example/",
        "audience": "y",
    }
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/orders",
        "http://api.example.com/orders",
        "https://api.example.com:8443/orders",
        "https://api.example.com.evil.example/",
        "https://api.example.com@evil.example/",
        "https://sub.api.example.com/",
        "https://[::1]/",
    ],
)
def test_101_a_request_to_another_origin_is_not_sent(send, url):
    api, endpoint = Api(), TokenEndpoint()
    auth = send.auth(endpoint.source(), ("https://API.example.com/v1", "https://other.example.com"))
    with pytest.raises(ConfigurationError):
        send(api, auth, url=url)
    assert (api.asked, endpoint.requests) == ([], [])
    assert send(api, auth, url="https://OTHER.example.com/x").status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "",
        (),
        5,
        None,
        "api.example.com",
        "http://api.example.com",
        "https://*.example.com",
        "https://me@api.example.com",
    ],
    ids=repr,
)
def test_bad_origins(origin):
    for adapter in (tokenguard.httpx.AccessTokenAuth, tokenguard.requests.AccessTokenAuth):
        with pytest.raises(ConfigurationError):
            adapter(TokenEndpoint().source(), origin)
        with pytest.raises(ConfigurationError):
            adapter("tokens", API)


def test_http_where_the_source_allows_it(send):
    api = Api()
    auth = send.auth(TokenEndpoint().source(allow_insecure_http=True), "http://localhost:8000")
    assert send(api, auth, url="http://localhost:8000/x").status_code == 200


def test_scopes_given_once_are_asked_for_each_time(send):
    endpoint, time = TokenEndpoint(), Time()
    auth = send.auth(endpoint.source(time=time), API, scope=iter(["a", "b"]))
    send(Api(), auth)
    time.move(3_600)
    send(Api(), auth)
    assert [form["scope"] for form in endpoint.forms] == ["a b", "a b"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [((400, {"error": "invalid_scope"}), TokenRefusedError), ((503, b""), TokenUnavailableError)],
)
def test_without_a_token_nothing_is_sent(send, answer, error):
    api = Api()
    with pytest.raises(error):
        send(api, send.auth(TokenEndpoint(answer).source(), API))
    assert api.asked == []


def test_101_a_redirect_to_another_origin_carries_no_token(send):
    for location in ("https://evil.example/steal", "https://api.example.com:8443/", "http://api.example.com/"):
        api = Api((302, {"Location": location}))
        auth = send.auth(TokenEndpoint().source(), API)
        assert send(api, auth, follow_redirects=True).status_code == 200
        assert api.tokens == ["Bearer token-1", None]


def test_a_redirect_within_the_origin_keeps_the_token(send):
    api = Api((302, {"Location": "/moved"}))
    assert send(api, send.auth(TokenEndpoint().source(), API), follow_redirects=True).status_code == 200
    assert api.tokens == ["Bearer token-1"] * 2


def test_a_redirect_after_a_401_carries_the_token_of_the_repeat(send):
    api = Api(NO, (302, {"Location": "/moved"}))
    assert send(api, send.auth(TokenEndpoint().source(), API), follow_redirects=True).status_code == 200
    assert api.tokens == ["Bearer token-1", "Bearer token-2", "Bearer token-2"]


def test_101_a_redirect_to_another_origin_after_a_401_carries_no_token(send):
    api = Api(NO, (302, {"Location": "https://evil.example/steal"}))
    assert send(api, send.auth(TokenEndpoint().source(), API), follow_redirects=True).status_code == 200
    assert api.tokens == ["Bearer token-1", "Bearer token-2", None]


@pytest.mark.parametrize("answers", [(), (NO,)], ids=["at once", "after a 401"])
def test_101_a_redirect_from_http_to_https_carries_no_token_with_requests(answers):
    api = Api(*answers, (302, {"Location": "https://api.example.com/"}))
    auth = tokenguard.requests.AccessTokenAuth(
        TokenEndpoint().source(allow_insecure_http=True), "http://api.example.com"
    )
    assert with_requests(api, auth, url="http://api.example.com/", follow_redirects=True).status_code == 200
    assert api.tokens[-1] is None


def test_103_a_401_from_elsewhere_says_nothing(send):
    api, endpoint = Api((302, {"Location": "https://evil.example/"}), NO), TokenEndpoint()
    assert send(api, send.auth(endpoint.source(), API), follow_redirects=True).status_code == 401
    assert (len(endpoint.requests), len(api.asked)) == (1, 2)


def test_103_a_401_to_a_request_without_the_token_says_nothing(send):
    endpoint = TokenEndpoint()
    api = Api((302, {"Location": "https://other.example.com/"}), NO)
    auth = send.auth(endpoint.source(), [API, "https://other.example.com"])
    assert send(api, auth, follow_redirects=True).status_code == 401
    assert api.tokens == ["Bearer token-1", None]
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("asked", [{"scope": ""}, {"scope": 5}, {"resource": "x"}, {"audience": [5]}], ids=repr)
def test_bad_arguments_are_reported_at_construction(asked):
    for adapter in (tokenguard.httpx.AccessTokenAuth, tokenguard.requests.AccessTokenAuth):
        with pytest.raises(ConfigurationError):
            adapter(TokenEndpoint().source(), API, **asked)


# -- 401 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        NO,
        (401, {}),
        challenge('Basic realm="x"'),
        challenge('bearer error=invalid_token, DPoP error="use_dpop_nonce"'),
        challenge('Bearer error="invalid_token", resource_metadata="https://evil.example/"'),
    ],
    ids=repr,
)
def test_a_401_is_repeated_once_with_another_token(send, answer):
    api, endpoint = Api(answer), TokenEndpoint()
    response = send(api, send.auth(endpoint.source(), API), "POST", content=b"body")
    assert response.status_code == 200
    assert api.tokens == ["Bearer token-1", "Bearer token-2"]
    assert [body for *_, body in api.asked] == [b"body"] * 2
    assert {url.partition("/orders")[0] for url, *_ in api.asked} == {API}
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        challenge('Bearer error="insufficient_scope"'),
        challenge('Basic realm="x", Bearer realm="api", error="invalid_request"'),
        challenge('Bearer error="invalid_token", Bearer error="x"'),
        (403, {"WWW-Authenticate": "Bearer"}),
        (500, {}),
    ],
    ids=repr,
)
def test_another_error_is_not_repeated(send, answer):
    api, endpoint = Api(answer), TokenEndpoint()
    assert send(api, send.auth(endpoint.source(), API)).status_code == answer[0]
    assert (len(api.asked), len(endpoint.requests)) == (1, 1)


def test_a_second_401_is_the_answer(send):
    api, endpoint = Api(NO, NO, NO), TokenEndpoint()
    assert send(api, send.auth(endpoint.source(), API)).status_code == 401
    assert (len(api.asked), len(endpoint.requests)) == (2, 2)


def test_104_an_api_that_always_answers_401_costs_two_token_requests_a_minute(send):
    time, endpoint = Time(), TokenEndpoint()
    api = Api(*[NO] * 1_000)
    auth = send.auth(endpoint.source(time=time), API)
    for _ in range(60):
        send(api, auth)
        time.move(1)
    assert len(endpoint.requests) == 1 + 2
    assert len(api.asked) == 60 + 2


@pytest.mark.parametrize("answer", [(400, {"error": "invalid_scope"}), (503, b"")], ids=repr)
def test_with_no_other_token_the_401_is_the_answer(send, answer):
    endpoint, api = TokenEndpoint(), Api(NO)
    source = endpoint.source()
    source.token()
    endpoint.answers.append(answer)
    assert send(api, send.auth(source, API)).status_code == 401
    assert api.tokens == ["Bearer token-1"]
    assert source.token().access_token == "token-1"


def test_where_the_source_itself_fails_the_401_is_the_answer(send, monkeypatch):
    source = TokenEndpoint().source()
    auth, api = send.auth(source, API), Api(NO)
    real = (source.token, source.token_async)

    def once(*_, **asked):
        monkeypatch.setattr(source, "token", fails)
        return real[0](**asked)

    async def once_async(*_, **asked):
        monkeypatch.setattr(source, "token_async", fails_async)
        return await real[1](**asked)

    def fails(**_):
        raise TokenUnavailableError

    async def fails_async(**_):
        raise TokenUnavailableError

    monkeypatch.setattr(source, "token", once)
    monkeypatch.setattr(source, "token_async", once_async)
    assert send(api, auth).status_code == 401
    assert len(api.asked) == 1


def test_the_same_token_again_is_not_sent_again(send):
    endpoint, api = TokenEndpoint(access_token="always"), Api(NO)
    assert send(api, send.auth(endpoint.source(), API)).status_code == 401
    assert (api.tokens, len(endpoint.requests)) == (["Bearer always"], 2)


def parts():
    yield b"one"
    yield b"two"


async def parts_async():
    yield b"one"
    yield b"two"


def test_behind_a_redirect_the_last_request_is_repeated(send):
    api = Api((303, {"Location": "/done"}), NO)
    auth = send.auth(TokenEndpoint().source(), API)
    assert send(api, auth, "POST", content=b"once", follow_redirects=True).status_code == 200
    assert [(url, token, body or b"") for url, token, _, body in api.asked] == [
        (f"{API}/orders", "Bearer token-1", b"once"),
        (f"{API}/done", "Bearer token-1", b""),
        (f"{API}/done", "Bearer token-2", b""),
    ]
    api = Api((307, {"Location": "/done"}), NO)
    auth = send.auth(TokenEndpoint().source(), API)
    assert send(api, auth, "POST", content=b"again", follow_redirects=True).status_code == 200
    assert [(url, body) for url, _, _, body in api.asked[1:]] == [(f"{API}/done", b"again")] * 2


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_body_that_cannot_be_sent_twice_is_not_repeated(library):
    endpoint = TokenEndpoint()
    source = endpoint.source()

    class Consuming(library.BaseTransport, library.AsyncBaseTransport):
        def handle_request(self, request):
            assert b"".join(request.stream) == b"onetwo"
            return library.Response(401)

        async def handle_async_request(self, request):
            assert b"".join([part async for part in request.stream]) == b"onetwo"
            return library.Response(401)

    auth = tokenguard.httpx.AccessTokenAuth(source, API)
    with library.Client(transport=Consuming(), auth=auth) as client:
        assert client.post(API, content=parts()).status_code == 401
    assert len(endpoint.requests) == 1
    assert source.token().access_token == "token-2"  # the next request has a fresh token

    async def asked():
        async with library.AsyncClient(transport=Consuming(), auth=auth) as client:
            return await client.post(API, content=parts_async())

    assert asyncio.run(asked()).status_code == 401


def test_requests_repeats_what_it_can_rewind():
    class Once:
        def __iter__(self):
            return parts()

    endpoint, time = TokenEndpoint(), Time()
    auth = tokenguard.requests.AccessTokenAuth(endpoint.source(time=time), API)
    api = Api(NO)
    assert with_requests(api, auth, "POST", content=Once()).status_code == 401
    assert len(api.asked) == 1
    time.move(40)
    api = Api(NO)
    assert with_requests(api, auth, "POST", content=io.BytesIO(b"file")).status_code == 200
    assert [body for *_, body in api.asked] == [b"file"] * 2


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize(
    ("files", "repeated"),
    [
        ({"a": b"bytes"}, True),
        ({"a": io.BytesIO(b"bytes")}, True),
        ({"a": ("name", io.BufferedReader(io.BytesIO(b"bytes")))}, True),
        ({"a": "Unseekable"}, False),
    ],
    ids=["bytes", "file", "reader", "pipe"],
)
def test_a_form_with_files_is_repeated_where_they_can_be_read_again(library, files, repeated):
    class Unseekable(io.RawIOBase):
        def read(self, _=-1):
            return b""

        def seekable(self):
            return False

    files = {name: Unseekable() if value == "Unseekable" else value for name, value in files.items()}

    class Consuming(library.BaseTransport):
        def handle_request(self, request):
            b"".join(request.stream)
            return library.Response(answers.pop(0))

    answers = [401, 200]
    auth = tokenguard.httpx.AccessTokenAuth(TokenEndpoint().source(), API)
    with library.Client(transport=Consuming(), auth=auth) as client:
        assert client.post(API, files=files, data={"x": "y"}).status_code == (200 if repeated else 401)


def test_50_concurrent_401s_make_one_fetch(send):
    endpoint = TokenEndpoint()
    source = endpoint.source()
    source.token()

    class Picky(Api):
        def answer(self, url, headers, body):
            self.asked.append((url, headers.get("authorization"), None, body))
            return NO if headers.get("authorization") == "Bearer token-1" else (200, {})

    api, auth = Picky(), send.auth(source, API)
    with ThreadPoolExecutor(20) as pool:
        assert {response.status_code for response in pool.map(lambda _: send(api, auth), range(50))} == {200}
    assert len(endpoint.requests) == 2


# -- DPoP --------------------------------------------------------------------------------------------------------------


def claims(raw):
    return jwt.decode(raw, options={"verify_signature": False})


NONCE = (401, {"WWW-Authenticate": 'DPoP error="use_dpop_nonce"', "DPoP-Nonce": "n1"})


def test_every_request_carries_a_proof(send):
    api = Api()
    auth = send.auth(TokenEndpoint(token_type="DPoP").source(dpop=True), API)
    send(api, auth, url=f"{API}/orders?page=1")
    send(api, auth, "POST")
    assert api.tokens == ["DPoP token-1"] * 2
    first, second = (claims(proof) for _, _, proof, _ in api.asked)
    assert (first["htm"], first["htu"], second["htm"]) == ("GET", f"{API}/orders", "POST")
    assert first["jti"] != second["jti"]
    assert first["ath"] == second["ath"]


def test_a_nonce_of_the_api_is_answered_once_and_the_token_kept(send):
    endpoint, api = TokenEndpoint(token_type="DPoP"), Api(NONCE)
    auth = send.auth(endpoint.source(dpop=True), API)
    assert send(api, auth).status_code == 200
    assert api.tokens == ["DPoP token-1"] * 2
    assert [claims(proof).get("nonce") for _, _, proof, _ in api.asked] == [None, "n1"]
    send(api, auth)
    assert claims(api.asked[2][2])["nonce"] == "n1"
    assert len(endpoint.requests) == 1


def test_a_nonce_that_is_asked_for_twice_is_the_401(send):
    endpoint, api = TokenEndpoint(token_type="DPoP"), Api(NONCE, NONCE, NONCE)
    assert send(api, send.auth(endpoint.source(dpop=True), API)).status_code == 401
    assert (len(api.asked), len(endpoint.requests)) == (2, 1)


def test_a_nonce_and_then_another_token(send):
    endpoint, api = TokenEndpoint(token_type="DPoP"), Api(NONCE, challenge('DPoP error="invalid_token"'))
    assert send(api, send.auth(endpoint.source(dpop=True), API)).status_code == 200
    assert api.tokens == ["DPoP token-1", "DPoP token-1", "DPoP token-2"]


def test_a_nonce_comes_with_any_answer(send):
    api = Api((200, {"DPoP-Nonce": "n7"}))
    auth = send.auth(TokenEndpoint(token_type="DPoP").source(dpop=True), API)
    send(api, auth)
    send(api, auth)
    assert [claims(proof).get("nonce") for _, _, proof, _ in api.asked] == [None, "n7"]


def test_a_nonce_is_kept_for_its_origin_however_that_is_spelled(send):
    api = Api((200, {"DPoP-Nonce": "n7"}))
    auth = send.auth(TokenEndpoint(token_type="DPoP").source(dpop=True), [API, f"{API}:8443"])
    for url in (f"{API}:443/a", f"{API}/b", f"{API}:8443/c"):
        send(api, auth, url=url)
    assert [claims(proof).get("nonce") for _, _, proof, _ in api.asked] == [None, "n7", None]


def test_a_nonce_for_a_body_that_cannot_be_sent_twice():
    auth = tokenguard.requests.AccessTokenAuth(TokenEndpoint(token_type="DPoP").source(dpop=True), API)
    api = Api(NONCE)

    class Once:
        def __iter__(self):
            return parts()

    assert with_requests(api, auth, "POST", content=Once()).status_code == 401
    assert len(api.asked) == 1
    with_requests(api, auth)
    assert claims(api.asked[1][2])["nonce"] == "n1"


def test_a_redirect_to_another_origin_carries_no_proof_with_requests():
    api = Api((302, {"Location": "https://evil.example/"}))
    auth = tokenguard.requests.AccessTokenAuth(TokenEndpoint(token_type="DPoP").source(dpop=True), API)
    with_requests(api, auth, follow_redirects=True)
    assert api.asked[1][1:3] == (None, None)


# -- wires -------------------------------------------------------------------------------------------------------------


def test_requests_over_a_real_connection():
    sent = []

    def behave(connection, body):
        number = len(server.requests)
        sent.append(body)
        status = b"401 Unauthorized" if number == 1 else b"200 OK"
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    with HostileServer(behave) as server:
        source = TokenEndpoint().source(allow_insecure_http=True)
        with requests.Session() as session:
            session.trust_env = False
            session.auth = tokenguard.requests.AccessTokenAuth(source, server.url)
            response = session.post(f"{server.url}/orders", json={"a": 1}, timeout=10)
    assert response.json() == {}
    assert [json.loads(body) for body in sent] == [{"a": 1}] * 2
    assert b"Bearer token-1" in server.requests[0]
    assert b"Bearer token-2" in server.requests[1]
    assert [one.status_code for one in response.history] == [401]


def test_an_odd_url_is_another_origin():
    assert (
        tokenguard.requests._origin("http://[")
        not in Outgoing(TokenEndpoint().source(), API, scope=None, resource=None, audience=None).origins
    )
    assert tokenguard.requests._origin(None).host == ""


# -- challenges --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([], set()),
        (["Bearer"], set()),
        (['Bearer error="a"'], {"a"}),
        (["BEARER  ERROR = a"], {"a"}),
        (['Bearer realm="x, Bearer error=\\"no\\"", error="a"'], {"a"}),
        (['Bearer error="a\\"b\\\\c"'], {'a"b\\c'}),
        (['Basic realm="x", error="no"'], set()),
        (['Negotiate abc==, Bearer error="a"'], {"a"}),
        (['Bearer abc==, DPoP error="no"'], set()),
        (['DPoP error="no"', 'Bearer error="a"', ', ,Bearer error="b",'], {"a", "b"}),
        (['Bearer error="a'], set()),
        (['Bearer error="a"x'], set()),
        (["\x00 Bearer error=a"], set()),
        (["Bearer error=a" + ", Bearer x=y" * 10_000], {"a"}),
        (["," * 100_000 + "Bearer error=a"], set()),
        (['Bearer error=""'], {""}),
    ],
    ids=range(16),
)
def test_reading_challenges(fields, found):
    assert errors(fields, "Bearer") == found
