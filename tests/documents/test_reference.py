"""The reference has a row for every setting, and the other places that speak of settings say the same."""

import inspect
import re
import runpy
import sys
from enum import Enum
from importlib import import_module
from types import SimpleNamespace
from typing import Protocol

import pytest
from real_servers import ROOT

from tokenguard import DPoP, Introspection, Issuer, MutualTLS, TokenValidator
from tokenguard._setup.environment import (
    _BOUND,
    _INTROSPECTION,
    _ISSUER,
    _VALIDATOR,
    _flag,
    _number,
    _object,
    _secrets,
    _text,
    _words,
)
from tokenguard.cli import options

# What an adapter is given besides settings.
NO_SETTINGS = {"app", "validator", "get_response"}
WRITTEN = {_text: "text", _words: "words", _secrets: "words", _number: "number", _flag: "`true` or `false`"}


def public_names():
    for name in re.findall(r"^::: (tokenguard\S*)$", (ROOT / "docs" / "reference.md").read_text("utf-8"), re.MULTILINE):
        module, _, last = name.rpartition(".")
        try:
            found = import_module(name)
        except ModuleNotFoundError:
            try:
                found = getattr(import_module(module), last)
            except ModuleNotFoundError:
                continue  # what lies in a class
        if inspect.ismodule(found):
            yield from (getattr(found, one) for one in found.__all__)
        elif found is not None:
            yield found


def settings_of(documented):
    ours = [one for one in documented.__mro__ if one.__module__.startswith("tokenguard")]
    if not any({"__init__", "__new__"} & vars(one).keys() for one in ours):
        return []  # made as its base of the standard library is
    return [
        name
        for name, parameter in inspect.signature(documented).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and not name.startswith("_")
        and name not in NO_SETTINGS
    ]


CLASSES = dict.fromkeys(
    one
    for one in public_names()
    if inspect.isclass(one) and not issubclass(one, Exception | Enum) and Protocol not in one.__bases__
)


@pytest.mark.parametrize("documented", CLASSES, ids=lambda one: f"{one.__module__}.{one.__qualname__}")
def test_every_setting_has_a_row(documented):
    lines = re.findall(r"^- ((?:`\w+`(?:, )?)+): \S", inspect.getdoc(documented), re.MULTILINE)
    rows = {name for line in lines for name in re.findall(r"\w+", line)}
    missing = [name for name in settings_of(documented) if name not in rows]
    assert not missing


@pytest.fixture
def tables(monkeypatch):
    griffe = SimpleNamespace(Extension=object, Object=object, Module=object, Attribute=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "griffe", griffe)
    return runpy.run_path(str(ROOT / "tools" / "reference.py"))


def test_a_list_of_settings_becomes_a_table(tables):
    text = "What it is.\n\n- `a`: seconds\n  that last\n- `b`, `c`: names\n\nRaises `ValueError`.\n"
    known = {"a": ("float", "30"), "b": ("str | None", "None"), "c": ("str", "None")}
    assert tables["tabled"](text, known) == (
        "What it is.\n\n\n| setting | type | default | meaning |\n|---|---|---|---|\n"
        "| `a` | `float` | `30` | seconds that last |\n| `b`, `c` | `str | None`, `str` | `None` | names |\n"
        "\nRaises `ValueError`.\n"
    )


def test_another_list_stays_a_list(tables):
    text = "- `a`: a setting\n- `other`: none\n"
    assert tables["tabled"](text, {"a": ("", "")}) == text


def test_the_environment_page_has_every_variable():
    rows = re.findall(
        r"^\| `TOKENGUARD_(\w+)` \| `(\w+)\.(\w+)` \| (?:`(.*)`)? ?\| (.*) \|$",
        (ROOT / "docs" / "environment.md").read_text("utf-8"),
        re.MULTILINE,
    )
    expected = []
    for owner, readers, prefix in (
        (TokenValidator, _VALIDATOR, ""),
        (Issuer, _ISSUER, ""),
        (Introspection, _INTROSPECTION, "INTROSPECTION_"),
        (DPoP, {name: read for name, read in _BOUND.items() if name.startswith("DPOP_")}, "DPOP_"),
        (MutualTLS, {name: read for name, read in _BOUND.items() if name.startswith("MTLS_")}, "MTLS_"),
    ):
        parameters = inspect.signature(owner).parameters
        for name, reader in readers.items():
            if reader is not _object:
                setting = name.removeprefix(prefix).lower()
                default = spelled(parameters[setting].default)
                expected.append((name, owner.__name__, setting, default, WRITTEN[reader]))
    assert sorted(rows) == sorted(expected)


def spelled(default):
    if default in (inspect.Parameter.empty, None, ()):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return " ".join(sorted(default)) if isinstance(default, tuple | frozenset | set | list) else str(default)


@pytest.mark.parametrize(("option", "setting"), [("LeewayOption", "leeway"), ("TimeoutOption", "http_timeout")])
def test_the_command_line_names_the_defaults_of_the_settings(option, setting):
    default = inspect.signature(TokenValidator).parameters[setting].default
    assert getattr(options, option).__metadata__[0].help.endswith(f"; default {default}.")
