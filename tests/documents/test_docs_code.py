"""The code of the documentation site runs: the files that a page shows, its tests, and what it lets one type.

A page is a story. Blocks with a `title="name.py"` are written to files of an empty directory; then the page's
`test_*.py` are run by pytest, and other files that no test imports by themselves. On the pages in `SESSIONS` the `sh`
blocks are typed, in order, each into the terminal that its title names, and a `text` block right after one is what that
terminal must then show, with `...` for whatever changes; a `text` block with a title names the terminal that shows it.
Python blocks without a title are run in test_docs.
"""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from listeners import held_port
from page_walk import SHELLS, blocks, files, walk
from real_servers import ROOT, clean

import tokenguard
from tokenguard import Introspection, Issuer, RevocationList, TokenValidator, asgi, audit, fastapi, flask
from tokenguard._setup.environment import _INTROSPECTION, _ISSUER, _VALIDATOR, _object
from tokenguard.client import TokenSource
from tokenguard.httpx import AccessTokenAuth
from tokenguard.redis import RedisStore
from tokenguard.testing import FakeIssuer

PAGES = sorted((ROOT / "docs").glob("**/*.md"))
SESSIONS = ["getting-started.md"]
# Whose settings are many; wsgi.BearerMiddleware refers to that of asgi.
DESCRIBED = [
    TokenValidator,
    Issuer,
    Introspection,
    RevocationList,
    RedisStore,
    asgi.BearerMiddleware,
    fastapi.BearerToken,
    flask.TokenGuard,
    audit.enable,
    TokenSource,
    AccessTokenAuth,
    FakeIssuer,
]


def name(path):
    return str(path.relative_to(ROOT / "docs"))


def written(page, directory):
    """The files of a page, by name."""
    shown = files(page)
    for file, code in shown.items():
        (directory / file).write_text(code, "utf-8")
    return shown


def run(*command, cwd):
    return subprocess.run(command, cwd=cwd, env=clean({}), capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("page", [page for page in PAGES if files(page)], ids=name)
def test_files_of_a_page_run(page, tmp_path):
    shown = written(page, tmp_path)
    tests = sorted(file for file in shown if file.startswith("test_"))
    if tests:
        settings = ("-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio", "--rootdir", str(tmp_path), "-q")
        done = run(sys.executable, "-m", "pytest", *settings, *tests, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    tested = "\n".join(shown[file] for file in tests)
    for file in shown:
        module = file.removesuffix(".py")
        if file.endswith(".py") and not file.startswith(("test_", "conftest")) and f"from {module} " not in tested:
            done = run(sys.executable, "-W", "error", file, cwd=tmp_path)
            assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "curl"))), reason="needs bash and curl")
@pytest.mark.parametrize("page", SESSIONS)
def test_a_session_shows_what_the_page_says(page, tmp_path):
    # Here the environment is installed already; `make newcomer` goes through every step, from an empty one.
    environment = clean({"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"})
    with held_port() as one, held_port() as other:
        walk(
            ROOT / "docs" / page,
            tmp_path,
            environment,
            leave_out=("python3 -m venv", ". ", "pip install"),
            instead={"8000": str(one), "9000": str(other)},
        )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_are_well_formed(page):
    for block in blocks(page):
        if block.kind in SHELLS and shutil.which("bash"):
            done = subprocess.run(["bash", "-n"], input=block.code, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"line {block.line}: {done.stderr}"
        elif block.kind == "json":
            json.loads(block.code)
        elif block.kind == "toml":
            tomllib.loads(block.code)


def test_extras_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for page in PAGES:
        for distribution, extras in re.findall(r"pip install \"?([\w.-]+)\[([\w,]+)\]", page.read_text("utf-8")):
            assert distribution == project["name"], page.name
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), page.name


def test_the_site_has_every_page():
    listed = set(re.findall(r": ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))
    pages = {name(page) for page in PAGES if page.parent.name != "decisions"}
    assert pages <= listed, f"not in nav of mkdocs.yml: {pages - listed}"


@pytest.mark.parametrize("described", DESCRIBED, ids=lambda one: one.__qualname__)
def test_the_reference_speaks_of_every_setting(described):
    settings = set(inspect.signature(described).parameters) - {"app", "validator"}
    reported = set(re.findall(r"`(\w+)[^`]*`", inspect.getdoc(described)))
    assert settings <= reported, sorted(settings - reported)


def test_the_reference_has_every_variable():
    spelt = {name for name, read in {**_VALIDATOR, **_ISSUER, **_INTROSPECTION}.items() if read is not _object}
    reported = set(re.findall(r"`(\w+)`", inspect.getdoc(TokenValidator.from_mapping)))
    reported |= {f"INTROSPECTION{name}" for name in reported if name.startswith("_")}
    assert spelt <= reported, sorted(spelt - reported)


def test_the_reference_has_every_public_name():
    shown = set(re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text("utf-8"), re.MULTILINE))
    names = {f"tokenguard.{exported}" for exported in tokenguard.__all__}
    for module in (ROOT / "src" / "tokenguard").glob("[!_]*.py"):
        if f"tokenguard.{module.stem}" not in shown:
            exported = import_module(f"tokenguard.{module.stem}").__all__
            names |= {
                f"tokenguard.{name if name in tokenguard.__all__ else f'{module.stem}.{name}'}" for name in exported
            }
    assert names <= shown, f"not in reference.md: {sorted(names - shown)}"
    packages = {f"tokenguard.{path.parent.name}" for path in (ROOT / "src" / "tokenguard").glob("[!_]*/__init__.py")}
    missing = packages - {".".join(name.split(".")[:2]) for name in shown} - {"tokenguard.cli"}
    assert not missing, f"not in reference.md: {sorted(missing)}"
