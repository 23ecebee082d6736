"""The routes of a Django project: URL patterns, view classes, Django REST framework, django-ninja.

Owns: where each of them keeps its routes, and what guards them. Must not know: when a route counts as guarded. Of the
two frameworks on top nothing is imported here: where a project has none of their views, they are not loaded.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from django.conf import settings
from django.contrib.admindocs.utils import (
    remove_non_capturing_groups,
    replace_metacharacters,
    replace_named_groups,
    replace_unnamed_groups,
)
from django.urls import URLResolver, get_resolver
from django.urls.resolvers import RegexPattern, RoutePattern
from django.utils.module_loading import import_string
from django.views import View

from tokenguard.django import BearerMiddleware
from tokenguard.django.conf import current
from tokenguard.requirements import NOTHING
from tokenguard.routes.overrides import overriding
from tokenguard.routes.table import ANY_METHOD, Layer, Table, is_as, layer_of_guard, layers_of

_DOOR: Final = "django"
_DRF: Final = "drf"
_CHOOSING: Final = ("get_permissions", "check_permissions")  # methods of a view class that may leave some out
_ANYTHING: Final = "<regex:any>"  # in a template
# How a regular expression begins, where it is anchored; without the character before a quantifier.
_LITERAL: Final = re.compile(r"\^(?P<text>[A-Za-z0-9_/-]*?)(?=[A-Za-z0-9_/-]?[?*{+]|[^A-Za-z0-9_/-]|$)")


def read(_app: object, layers: Sequence[Layer], table: Table, prefix: str) -> None:
    """Add the routes of the project behind `layers`, mounted at `prefix`, to `table`. They are those of the settings,
    whatever the app is."""
    around = [*layers, *_middleware(prefix)]
    for path, matched, view in _patterns(get_resolver(), "/", "/"):
        handlers = [(methods, [*around, *own]) for methods, own in _views(view)]
        table.add_each(f"{prefix}{path}", handlers, matched=f"{prefix}{matched}")


def _middleware(prefix: str) -> Iterator[Layer]:
    for name in settings.MIDDLEWARE:
        found = import_string(name)
        if is_as(BearerMiddleware, found, "__call__"):
            yield layer_of_guard(current().middleware, prefix)


def _patterns(resolver: URLResolver, path: str, matched: str) -> Iterator[tuple[str, str, Any]]:
    """The path of each view, a path that matches at least as much, and the view."""
    for one in resolver.url_patterns:
        shown, open_ended = _spelled(one.pattern)
        if isinstance(one, URLResolver):
            yield from _patterns(one, path + shown, matched + open_ended)
        else:
            yield path + shown, matched + open_ended, one.callback


def _spelled(pattern: Any) -> tuple[str, str]:
    """A pattern in words, and as a template: of a regular expression only its literal beginning is known, and of what
    goes by the language of a request nothing."""
    text = str(pattern)
    if isinstance(pattern, RoutePattern):
        return text, text if isinstance(vars(pattern).get("_route"), str) else _ANYTHING
    if not (isinstance(pattern, RegexPattern) and isinstance(vars(pattern).get("_regex"), str)):
        return text, _ANYTHING
    found = _LITERAL.match(text)
    literal = "" if found is None or "|" in text else found["text"]
    is_whole = found is not None and literal + "$" == text[1:]
    shown = replace_unnamed_groups(replace_named_groups(remove_non_capturing_groups(text)))
    slash = "/" if text.endswith("/$") and not {"|", "#"} & set(text) else ""  # "#" begins a comment of a verbose one
    return replace_metacharacters(shown).removeprefix("/"), literal if is_whole else f"{literal}{_ANYTHING}{slash}"


# -- views -------------------------------------------------------------------------------------------------------------


def _views(view: Any) -> Iterator[tuple[Iterable[str], list[Layer]]]:
    """The methods that one view answers alike, and what it asks for: several where it is a class, or django-ninja's."""
    own = layers_of(_DOOR, view)
    kind = getattr(view, "cls", None) or getattr(view, "view_class", None)
    operations = _operations(view)
    if operations is not None:
        for operation in operations:
            yield (
                operation.methods,
                [*own, *layers_of(_DOOR, operation.run), *layers_of(_DOOR, operation.view_func)],
            )
    elif isinstance(kind, type) and issubclass(kind, View):
        given: dict[str, Any] = {**vars(view).get("view_initkwargs", {}), **vars(view).get("initkwargs", {})}
        dispatching, runs_handlers = _overriding(kind, "dispatch")
        own += [layer for method in dispatching for layer in layers_of(_DOOR, method)]
        own += _permissions(kind, given) if runs_handlers else ()
        for method, handler in _handlers(kind, getattr(view, "actions", None)):
            yield (method,), [*own, *(_of_handler(handler) if runs_handlers else ())]
    else:
        yield ANY_METHOD, own


def _overriding(kind: type[View], name: str) -> tuple[list[Any], bool]:
    """See `overriding`."""
    views: Any = sys.modules.get("rest_framework.views")
    return overriding(kind, name, (View,) if views is None else (views.APIView, View))


def _handlers(kind: type[View], actions: dict[str, str] | None) -> Iterator[tuple[str, Any]]:
    """The methods of a class and their handlers. OPTIONS only where it is the class's own: else it says `Allow`."""
    names = actions if actions is not None else {name: name for name in kind.http_method_names}
    handlers: dict[str, Any] = {method: getattr(kind, name, None) for method, name in names.items()}
    if actions is None and getattr(kind.options, "__module__", "").startswith(("django.", "rest_framework.")):
        handlers.pop("options", None)
    if handlers.get("head") is None:
        handlers["head"] = handlers.get("get")
    for method, handler in handlers.items():
        if handler is not None:
            yield method.upper(), handler


def _of_handler(handler: Any) -> list[Layer]:
    """What a handler asks for, or the function that it calls where `api_view` has made it."""
    found = layers_of(_DOOR, handler)
    if getattr(handler, "__module__", None) == "rest_framework.decorators":
        found += [layer for cell in handler.__closure__ for layer in layers_of(_DOOR, cell.cell_contents)]
    return found


def _operations(view: Any) -> Sequence[Any] | None:
    """Those of the `PathView` of django-ninja that a function calls, None where it calls none."""
    if "ninja.operation" in sys.modules:
        for cell in getattr(view, "__closure__", None) or ():
            found = cell.cell_contents
            if type(found).__name__ == "PathView" and type(found).__module__ == "ninja.operation":
                operations: Sequence[Any] = found.operations
                return operations
    return None


# -- Django REST framework ---------------------------------------------------------------------------------------------


def _permissions(kind: Any, given: dict[str, Any]) -> Iterator[Layer]:
    """What the permissions of a view class ask for. A class that chooses them at each request is not asked."""
    views: Any = sys.modules.get("rest_framework.views")
    ours: Any = sys.modules.get("tokenguard.drf")
    if views is None or ours is None or not issubclass(kind, views.APIView):
        return
    if any(getattr(kind, name) is not getattr(views.APIView, name) for name in _CHOOSING):
        return
    if not _overriding(kind, "initial")[1]:  # which asks them
        return
    only_ours = _authenticates_by_tokens_alone(kind, given, views, ours)
    for permission in given.get("permission_classes", kind.permission_classes):
        yield from _asked(permission, only_ours=only_ours) or ()


def _authenticates_by_tokens_alone(kind: Any, given: dict[str, Any], views: Any, ours: Any) -> bool:
    if kind.get_authenticators is not views.APIView.get_authenticators:
        return False
    classes: Any = list(given.get("authentication_classes", kind.authentication_classes))
    return bool(classes) and all(is_as(ours.BearerAuthentication, one, "authenticate") for one in classes)


def _asked(permission: Any, *, only_ours: bool) -> list[Layer] | None:
    """What a permission asks for, joined ones too; None where it lets requests without a token in."""
    found = layers_of(_DRF, getattr(permission, "has_permission", None))  # a method of its own may decide otherwise
    if found:
        return found
    operator = getattr(getattr(permission, "operator_class", None), "__name__", None)
    if operator in ("AND", "OR"):
        first = _asked(permission.op1_class, only_ours=only_ours)
        second = _asked(permission.op2_class, only_ours=only_ours)
        if operator == "OR":
            return None if first is None or second is None else first
        return [*(first or ()), *(second or ())] or None
    permissions: Any = sys.modules["rest_framework.permissions"]
    if only_ours and is_as(permissions.IsAuthenticated, permission, "has_permission"):
        return [Layer(_DRF, NOTHING)]
    return None
