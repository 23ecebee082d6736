"""What is installed, and what importing it costs."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import import_module
from importlib.metadata import entry_points, metadata
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from real_servers import ROOT, clean

import tokenguard
from tokenguard._io.body import USER_AGENT

FRAMEWORKS = {
    "starlette",
    "fastapi",
    "pydantic",
    "flask",
    "werkzeug",
    "django",
    "rest_framework",
    "redis",
    "opentelemetry",
    "typer",
    "rich",
    "pytest",
}
HTTP_CLIENTS = {"httpx", "httpx2", "httpcore", "httpcore2", "h11", "requests", "aiohttp", "urllib3"}
# What takes long, and brings http.client along: loaded with the first key or validator.
LATER = {"http.client", "urllib.request", "jwt", "cryptography", "asyncio"}
PUBLIC = {
    "AccessToken",
    "ConfigurationError",
    "InsufficientAuthenticationError",
    "InsufficientScopeError",
    "Introspection",
    "IntrospectionUnavailableError",
    "InvalidRequestError",
    "InvalidTokenError",
    "Issuer",
    "KeysUnavailableError",
    "MissingTokenError",
    "Reason",
    "RejectedError",
    "ResourceRequest",
    "RevocationList",
    "SecretFile",
    "TokenGuardError",
    "TokenRefusedError",
    "TokenUnavailableError",
    "TokenValidator",
    "UnavailableError",
}


def loaded_by(statement: str, watched: frozenset[str] | set[str] = FRAMEWORKS | HTTP_CLIENTS) -> set[str]:
    """Which of `watched`, the frameworks and HTTP clients, a fresh interpreter holds after `statement`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{statement}; import sys; print(*sys.modules, sep='\\n')"],
        env=clean({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.split()) & watched


def test_import_loads_no_framework_and_no_http_client():
    assert loaded_by("import tokenguard", FRAMEWORKS | HTTP_CLIENTS | LATER) == set()
    assert loaded_by("import tokenguard.client", FRAMEWORKS | HTTP_CLIENTS | LATER) == set()


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("tokenguard.asgi", set()),
        ("tokenguard.wsgi", set()),
        ("tokenguard.challenge", set()),
        ("tokenguard.starlette", {"starlette"}),
        ("tokenguard.fastapi", {"fastapi", "starlette", "pydantic", "rich", "opentelemetry"}),
        ("tokenguard.flask", {"flask", "werkzeug"}),
        ("tokenguard.mcp", {"starlette", "pydantic", "opentelemetry", "httpx2", "rich", "typer"}),
        ("tokenguard.django", {"django"}),
        ("tokenguard.grpc", {"grpc"}),
        ("tokenguard.aiohttp", {"aiohttp"}),
        ("tokenguard.litestar", {"litestar", "rich", "httpx", "httpcore", "h11"}),
        ("tokenguard.testing", set()),
    ],
)
def test_adapters_load_their_own_framework_only(module, allowed):
    assert loaded_by(f"import {module}") <= allowed


def test_a_validator_with_static_keys_loads_no_http_client():
    secret = '{"keys": [{"kty": "oct", "k": "' + "A" * 43 + '"}]}'
    issuer = f"tokenguard.Issuer('me', jwks={secret}, algorithms=['HS256'])"
    assert loaded_by(f"import tokenguard; tokenguard.TokenValidator({issuer}, 'api')") == set()


def test_public_names():
    assert set(tokenguard.__all__) >= PUBLIC
    assert sorted(tokenguard.__all__) == tokenguard.__all__
    for name in tokenguard.__all__:
        assert getattr(tokenguard, name).__doc__, name


@pytest.mark.parametrize(
    "name",
    [
        "tokenguard.asgi.BearerMiddleware",
        "tokenguard.wsgi.BearerMiddleware",
        "tokenguard.starlette.require_scope",
        "tokenguard.fastapi.BearerToken",
        "tokenguard.fastapi.add_error_handler",
        "tokenguard.flask.TokenGuard",
        "tokenguard.flask.require_scope",
        "tokenguard.flask.current_token",
        "tokenguard.mcp.TokenVerifier",
        "tokenguard.django.BearerMiddleware",
        "tokenguard.django.require",
        "tokenguard.fastmcp.TokenGuardProvider",
        "tokenguard.drf.BearerAuthentication",
        "tokenguard.grpc.BearerInterceptor",
        "tokenguard.grpc.AioBearerInterceptor",
        "tokenguard.grpc.current_token",
        "tokenguard.litestar.TokenGuardPlugin",
        "tokenguard.litestar.require",
        "tokenguard.aiohttp.setup",
        "tokenguard.aiohttp.require",
        "tokenguard.challenge.reject",
        "tokenguard.challenge.Rejection",
        "tokenguard.testing.FakeIssuer",
    ],
)
def test_names_of_submodules(name):
    module, _, attribute = name.rpartition(".")
    assert hasattr(import_module(module), attribute)
    assert attribute in import_module(module).__all__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return Path(next(iter(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist"))))))


def test_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert wheel.name.startswith("tokenguard_oauth-")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "tokenguard/py.typed" in names
    assert "tokenguard/testing/plugin.py" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert all(name.startswith(("tokenguard/", "tokenguard_oauth-")) for name in names)


def test_wheel_is_enough_by_itself(wheel, tmp_path):
    """Unpacked somewhere else, with this environment's dependencies but not this tree."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import tokenguard, tokenguard.asgi, tokenguard.testing; print(tokenguard.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=clean({"PYTHONPATH": str(tmp_path)}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)


def test_sdist_holds_what_the_documents_and_their_tests_read(tmp_path):
    sdist = next(iter(SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])))
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {".ci/run", "LICENSE", "Makefile", "README.md", "SECURITY.md", "docs/index.md", "pyproject.toml"} <= names
    assert not any("node_modules" in name or "__pycache__" in name for name in names)


def test_addresses_are_the_one_that_there_is():
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    assert urls["Homepage"] in USER_AGENT
    assert all(url.startswith(urls["Homepage"]) for url in urls.values())


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_clean_removes_what_the_targets_made(tmp_path):
    """Of every target; what `make` leaves behind is what was there before."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = {"Makefile", "bench", "bench/run.py", "src", "src/a.py", "tests", "tests/interop"}
    made = {".venv", ".venv-fuzz", ".venv-mutation", ".venv-3.12", ".fuzz/corpus", "mutants/src", "bench/.venvs/peers"}
    made |= {"bench/.cache", "src/__pycache__", "tests/interop/node_modules", "dist", "build", "site", ".hypothesis"}
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    for name in ("bench/run.py", "src/a.py", ".coverage", ".coverage.host.1"):
        (tmp_path / name).touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, timeout=60, capture_output=True)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == kept


def test_metadata():
    about = metadata("tokenguard-oauth")
    assert about["Requires-Python"] == ">=3.11"
    assert about["License-Expression"] == "Apache-2.0"
    adapters = {
        "starlette",
        "fastapi",
        "flask",
        "django",
        "drf",
        "grpc",
        "mcp",
        "fastmcp",
        "aiohttp",
        "litestar",
        "gateway",
    }
    extras = adapters | {"redis", "requests", "otel", "cli", "fast", "all"}
    assert set(about.get_all("Provides-Extra")) == extras
    required = {line for line in about.get_all("Requires-Dist") if "extra ==" not in line}
    assert {line.partition(">")[0].lower() for line in required} == {
        "pyjwt[crypto]",
        "cryptography",
        "httpx",
        "cachetools",
    }
    plugins = [found.value for found in entry_points(group="pytest11") if found.name == "tokenguard"]
    assert plugins == ["tokenguard.testing.plugin"]


def test_the_extra_of_all_brings_no_framework_but_the_first_three():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert extras["all"] == ["tokenguard-oauth[starlette,fastapi,flask,redis,otel,cli,fast]"]


def test_every_dependency_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    locked = (ROOT / "dev.lock").read_text("utf-8").lower()
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted.extend(extra)
    for requirement in wanted:
        name = requirement.partition(";")[0].partition(">")[0].partition("[")[0].strip().lower()
        assert name == "tokenguard-oauth" or f"\n{name}==" in locked, f"{name}: run `make lock KEEP=1`"
