"""httpx2 where it is installed, httpx where it is not, and a transport of either whatever is installed."""

import asyncio
import subprocess
import sys
from typing import ClassVar

import httpx
import pytest
from real_servers import ROOT, clean

from tokenguard import TokenUnavailableError, TokenValidator
from tokenguard._io import libraries
from tokenguard.client import TokenSource
from tokenguard.testing import FakeIssuer

httpx2 = pytest.importorskip("httpx2")

PROGRAM = """
import sys
if {without}:
    sys.modules["httpx2"] = None
from tokenguard.client import TokenSource
from tokenguard.testing import FakeIssuer
import tokenguard.httpx
fake = FakeIssuer()
with fake.serve(), TokenSource(fake.url, fake.client_id, fake.client_secret, allow_insecure_http=True) as source:
    source.token()
from tokenguard._io import libraries
print(libraries.preferred().__name__, [one.__name__ for one in libraries.loaded()])
"""


@pytest.mark.parametrize(("without", "name"), [(False, "httpx2"), (True, "httpx")])
def test_which_one_is_used(without, name):
    program = PROGRAM.format(without=without)
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean({}), capture_output=True, text=True, timeout=60, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1].split()[0] == name


@pytest.fixture
def undecided():
    libraries.preferred.cache_clear()
    yield
    libraries.preferred.cache_clear()


@pytest.mark.usefixtures("undecided")
def test_without_httpx2_it_is_httpx(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx2", None)
    assert libraries.preferred() is httpx
    assert libraries.loaded() == (httpx,)


@pytest.mark.usefixtures("undecided")
def test_a_library_that_is_absent_is_looked_for_once(monkeypatch):
    class Absent:
        looked_for: ClassVar[list[str]] = []

        def find_spec(self, name, path, target=None):
            if name == "httpx2":
                self.looked_for.append(name)
                raise ModuleNotFoundError(name)

    monkeypatch.delitem(sys.modules, "httpx2")
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    assert libraries.preferred() is libraries.preferred() is httpx
    assert Absent.looked_for == ["httpx2"]


def answering(library, fake):
    """A transport of `library` that answers as `fake` does."""
    inner = fake.transport

    def handle(request):
        asked = httpx.Request(
            request.method, str(request.url), headers=list(request.headers.multi_items()), content=request.read()
        )
        answer = inner.handle_request(asked)
        return library.Response(answer.status_code, headers=list(answer.headers.multi_items()), content=answer.content)

    return library.MockTransport(handle)


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_transport_of_either(library):
    fake = FakeIssuer("https://issuer.example")
    transport = answering(library, fake)
    source = TokenSource(fake.url, fake.client_id, fake.client_secret, transport=transport)
    validator = TokenValidator(fake.url, "https://api.example.com", transport=transport)
    assert validator.validate(source.token(resource="https://api.example.com").access_token)
    other = asyncio.run(source.token_async(scope="a", resource="https://api.example.com"))
    assert asyncio.run(validator.validate_async(other.access_token)).scopes == {"a"}


def test_a_transport_of_neither_speaks_httpx():
    class Own:
        def handle_request(self, request):
            assert isinstance(request, httpx.Request)
            return httpx.Response(200, json={"access_token": "a"})

    assert libraries.library_of(Own()) is httpx
    assert libraries.library_of(httpx2.HTTPTransport()) is httpx2
    assert libraries.library_of(None) is httpx2
    source = TokenSource("https://issuer.example", "a", "b", token_endpoint="https://issuer.example/t", transport=Own())
    assert source.token().access_token == "a"


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_errors_of_either_are_known(library):
    def broken(request):
        raise library.ConnectTimeout("slow")

    source = TokenSource("https://issuer.example", "a", "b", transport=library.MockTransport(broken))
    with pytest.raises(TokenUnavailableError) as caught:
        source.token()
    assert caught.value.__cause__.kind == "timeout"
