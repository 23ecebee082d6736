"""Makes tables of the settings that docstrings list: an extension of griffe, which reads the code for the reference.

A docstring describes a setting in one line, "- `name`: what it means"; several that belong together share one. Types
and defaults stand in the signature, so the table takes them from there. Everything else stays as it is.
"""

import re
from typing import Any

import griffe

# One item of a list, with the lines that continue it.
ITEM = r"- (?P<names>`\w+`(?:, `\w+`)*): (?P<text>[^\n]*(?:\n  +\S[^\n]*)*)\n?"
LIST = re.compile(rf"(?:^{ITEM.replace('?P<names>', '?:').replace('?P<text>', '?:')})+", re.MULTILINE)


def settings(documented: griffe.Object) -> dict[str, tuple[str, str]]:
    """Type and default of every parameter and every attribute, as the code spells them."""
    found = {
        name: (str(member.annotation or ""), "")
        for name, member in documented.members.items()
        if isinstance(member, griffe.Attribute)
    }
    parameters: Any = getattr(documented, "parameters", ())
    return found | {one.name: (str(one.annotation or ""), str(one.default or "")) for one in parameters}


def tabled(text: str, known: dict[str, tuple[str, str]]) -> str:
    """A docstring with its lists of settings as tables. A list that names anything else stays a list."""

    def table(match: re.Match[str]) -> str:
        items = [(re.findall(r"\w+", item["names"]), item["text"]) for item in re.finditer(ITEM, match[0])]
        if not all(name in known for names, _ in items for name in names):
            return match[0]
        rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
        for names, meaning in items:
            types, defaults = (_codes(known[name][column] for name in names) for column in (0, 1))
            rows.append(f"| {_codes(names)} | {types} | {defaults} | {' '.join(meaning.split())} |")
        return "\n" + "\n".join(rows) + "\n"

    return LIST.sub(table, text)


def _codes(spelled: Any) -> str:
    return ", ".join(f"`{one}`" for one in dict.fromkeys(spelled) if one)


class SettingsTables(griffe.Extension):
    """The extension. It runs when a package is loaded as a whole: what dataclasses generate is known by then."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Go through everything that has a docstring."""
        _walk(pkg)


def _walk(documented: griffe.Object) -> None:
    if documented.docstring is not None:
        documented.docstring.value = tabled(documented.docstring.value, settings(documented))
    for member in documented.members.values():
        if not member.is_alias:
            _walk(member)
