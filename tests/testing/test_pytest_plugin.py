"""The pytest plugin, in a pytest of its own: fixtures work, can be overridden, and load the kit when they are used."""

import os
import subprocess
import sys
import textwrap

import pytest

PLUGIN = "tokenguard.testing.plugin"


@pytest.fixture
def run_pytest(tmp_path):
    """Runs a test file with the plugin in a new interpreter; asserts that all its tests pass."""

    def run(source, **files):
        for name, text in {"test_api": source, **files}.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-W",
                "error",
                "-p",
                PLUGIN,
                "-p",
                "no:cacheprovider",
                str(tmp_path),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_fixtures_judge_real_tokens(run_pytest):
    out = run_pytest(
        """
        import httpx
        import pytest
        from tokenguard.errors import InsufficientScopeError, InvalidTokenError

        def test_validator(tokenguard_issuer, tokenguard_validator):
            token = tokenguard_issuer.mint("orders:read", sub="alice")
            assert tokenguard_validator.validate(token, scope="orders:read").subject == "alice"
            with pytest.raises(InvalidTokenError):
                tokenguard_validator.validate(tokenguard_issuer.expired())

        def test_headers(tokenguard_headers, tokenguard_validator):
            scheme, token = tokenguard_headers("orders:read")["Authorization"].split()
            assert scheme == "Bearer"
            with pytest.raises(InsufficientScopeError):
                tokenguard_validator.validate(token, scope="orders:write")

        def test_server(tokenguard_server):
            issuer = tokenguard_server.issuer
            assert httpx.get(issuer.jwks_uri, trust_env=False).status_code == 200
            with issuer.validator() as validator:
                validator.validate(issuer.mint())
        """
    )
    assert "3 passed" in out


def test_an_overridden_issuer_is_what_the_other_fixtures_see(run_pytest):
    out = run_pytest(
        """
        def test_audience(tokenguard_headers, tokenguard_validator):
            token = tokenguard_headers()["Authorization"].split()[1]
            assert tokenguard_validator.validate(token).audience == ("https://mine.example",)
        """,
        conftest="""
        import pytest
        from tokenguard.testing import FakeIssuer

        @pytest.fixture
        def tokenguard_issuer():
            return FakeIssuer(audience="https://mine.example", algorithm="ES256")
        """,
    )
    assert "1 passed" in out


def test_nothing_of_the_kit_is_loaded_until_a_test_asks(run_pytest):
    out = run_pytest(
        """
        import sys

        def test_idle():
            loaded = {name for name in sys.modules if name.startswith(("tokenguard.testing.", "httpx", "http.server"))}
            assert loaded == {"tokenguard.testing.plugin"}
        """
    )
    assert "1 passed" in out
