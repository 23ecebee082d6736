"""`tokenguard routes`: which routes of this app need no token?

Owns: how the app is loaded, the list of routes that are meant to be open, the report. Must not know: frameworks, when a
route counts as guarded (`tokenguard.routes`).
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import tomllib
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tokenguard._observe.redact import origin_of
from tokenguard.cli import output
from tokenguard.cli.options import JsonOption
from tokenguard.errors import ConfigurationError
from tokenguard.routes import Names, Route, audit, compare

_SETTINGS: Final = "pyproject.toml"
_TABLE: Final = "[tool.tokenguard] of pyproject.toml"
_NAME: Final = "unguarded"


def routes(
    app: Annotated[
        str, typer.Argument(metavar="APP", help="module:attribute, as servers take it; module:factory() calls it.")
    ],
    *,
    public: Annotated[
        list[str] | None, typer.Option("--public", help="The path of a route that needs no token. May be repeated.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List every route of an app with what guards it. Nothing is requested or fetched: the app is imported.

    Routes that are meant to be open are named by --public, or in pyproject.toml, [tool.tokenguard]:
    unguarded = ["/health"].

    Exit code 0: every other route needs a token. 1: one needs none and is not named, or a name is not the path of an
    unguarded route any more. 2: the app cannot be loaded, or is of a framework that is not read.
    """
    try:
        named = [*(public or ()), *_from_settings(Path.cwd())]
        found = _audit(_loaded(app))
    except ConfigurationError as error:  # Python's own text: it is about the app's own code
        output.exit_wrong_use(str(error))
    names = compare(found, named)
    if json:
        output.as_json({"routes": [_row(one) for one in found], "unguarded": names.unguarded, "gone": names.gone})
    else:
        _report(found, names)
    raise typer.Exit(output.REJECTED if names else output.ACCEPTED)


def _loaded(app: str) -> Any:
    """The app. Whatever it prints on its way goes to standard error: standard output is ours."""
    module, colon, attribute = app.partition(":")
    name, is_factory = attribute.removesuffix("()"), attribute.endswith("()")
    if not (colon and module and all(part.isidentifier() for part in name.split("."))):
        raise ConfigurationError('APP must be module:attribute, such as "shop.main:app"')
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as servers do it
    with contextlib.redirect_stdout(sys.stderr):
        try:
            found: Any = import_module(module)
            for part in name.split("."):
                if not hasattr(found, part):
                    raise ConfigurationError(f"{app} cannot be loaded: there is no {part} in it")
                found = getattr(found, part)
            if not is_factory and inspect.isroutine(found) and _takes_nothing(found):  # no app is called so
                raise ConfigurationError(f"{app} is a function: write {app}() for the app that it returns")
            return found() if is_factory else found
        except ConfigurationError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - of the app, whatever it is
            raise ConfigurationError(f"{app} cannot be loaded: {_cause(error)}") from None


def _takes_nothing(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):  # ValueError: a builtin without a signature
        return False
    return True


def _audit(app: Any) -> list[Route]:
    with contextlib.redirect_stdout(sys.stderr):
        try:
            return audit(app)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - an app that is not as its framework makes them
            raise ConfigurationError(f"the routes of APP cannot be read: {_cause(error)}") from None


def _cause(error: BaseException) -> str:
    """What went wrong, without the text of an exception, which may quote a secret; but for what cannot be imported."""
    missing = error.name if isinstance(error, ImportError) else None
    return f"there is no module {output.shown(missing)}" if isinstance(error, ModuleNotFoundError) else origin_of(error)


def _from_settings(folder: Path) -> list[str]:
    """The list in the nearest pyproject.toml."""
    for one in (folder, *folder.parents):
        if (one / _SETTINGS).is_file():
            return _listed(one / _SETTINGS)
    return []


def _listed(path: Path) -> list[str]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise ConfigurationError("pyproject.toml cannot be read: it must be TOML, in UTF-8") from None
    tool: Any = document.get("tool")
    settings: Any = tool.get("tokenguard", {}) if isinstance(tool, dict) else {}
    if not isinstance(settings, dict) or settings.keys() - {_NAME}:
        raise ConfigurationError(f'{_TABLE} must have no name but {_NAME}: {_NAME} = ["/health"]')
    listed: Any = settings.get(_NAME, [])
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise ConfigurationError(f'{_NAME} in {_TABLE} must be a list of paths: {_NAME} = ["/health"]')
    return listed


def _row(route: Route) -> dict[str, Any]:
    return {
        "path": route.path,
        "methods": route.methods,
        "scope": route.scope,
        "guarded": route.guarded,
        "door": route.door,
    }


def _report(found: Iterable[Route], names: Names) -> None:
    rows = [
        (
            _status(route, names),
            _printable(route.path),
            " ".join(route.methods),
            route.door or "",
            _printable(" ".join(route.scope)),
        )
        for route in found
    ]
    output.table(("path", "methods", "door", "scope"), rows)
    for name in names.gone:
        output.line(f"{_printable(name)} is the path of no unguarded route: take it off the list", "bold red")
    if names:
        text = f"{len(names.unguarded)} unguarded and not named, {len(names.gone)} named and not unguarded"
        output.line(text, "bold red")
    else:
        output.line("every route is guarded, or named", "bold green")


def _status(route: Route, names: Names) -> str:
    if route.guarded:
        return "ok"
    return "fault" if route.path in names.unguarded else "note"


def _printable(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii") if text.isprintable() else output.shown(text)
