"""Errors of settings in the words of the variables that gave them.

Owns: the variable in place of a setting. Must not know: which variables there are, what is wrong with a setting.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from functools import partial

from tokenguard.errors import ConfigurationError


@contextmanager
def in_variables(names: Mapping[str, str], in_code: Collection[str] = ()) -> Generator[None]:
    """Inside, a `ConfigurationError` names variables. `names`: the variable of each setting. `in_code`: settings that
    keep their names."""
    try:
        yield
    except ConfigurationError as error:
        named = {setting: variable for setting, variable in names.items() if setting not in in_code}
        raise ConfigurationError(_spelled(str(error), named)) from error.__cause__


def _spelled(text: str, names: Mapping[str, str]) -> str:
    # One at the beginning, before its value, or that is no word of the language: "issuer" elsewhere is the server.
    unlike_words = [name for name in names if "_" in name or name == "jwks"]
    setting = re.compile(
        rf"^({'|'.join(names)})(?= must)|(?<![/\w.-])({'|'.join(names)})(?:=True\b|(?==))"
        + (rf"|(?<![/\w.-])({'|'.join(unlike_words)})\b" if unlike_words else "")
    )
    return setting.sub(partial(_variable, names), text)


def _variable(names: Mapping[str, str], found: re.Match[str]) -> str:
    name = found[0].removesuffix("=True")
    return names[name] + ("=true" if name != found[0] else "")
