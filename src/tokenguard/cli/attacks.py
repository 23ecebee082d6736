"""What an attacker asks a proxy that guards an API: requests without a good token, one trick each.

Owns: the tricks. Must not know: how they are sent, what an answer means.

None of them writes: GET, HEAD and a websocket's handshake only. A proxy or an API that does not know a trick answers
it as it answers a request without a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["GUESSES", "Question", "about_tokens", "without_token"]

GUESSES: Final = ("/health", "/healthz", "/")  # paths that are often public

Fields = tuple[tuple[str, str], ...]

# Two parts with an invented signature: {"alg":"none"} and {"sub":"admin"}.
_INVENTED: Final = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."
_TARGET_FIELDS: Final = (
    "X-Forwarded-Uri", "X-Forwarded-Path", "X-Original-URL", "X-Original-URI", "X-Rewrite-URL",
    "X-Envoy-Original-Path", "X-Replaced-Path",
)  # fmt: skip
_SPELLINGS: Final = ("_", ".", "~")  # in place of the dashes; backends fold them into one
_WEBSOCKET: Final = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
)
_H2C: Final = (
    ("Connection", "Upgrade, HTTP2-Settings"),
    ("Upgrade", "h2c"),
    ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
)


class Question(NamedTuple):
    """One request. `area` and `text` say what it tries. `is_served`: 2xx is right, and only a tunnel is not."""

    area: str
    text: str
    target: str
    fields: Fields = ()
    method: str = "GET"
    is_served: bool = False


def without_token(route: str, public: tuple[str, ...]) -> Iterator[Question]:
    """Requests about `route`, a guarded path, that none may get. `public`: paths that may be asked for without."""
    public = tuple(path for path in public if path != route)
    yield Question("no token", "no token", route)
    yield Question("no token", "HEAD without a token", route, method="HEAD")
    yield Question("no token", "a websocket's handshake without a token", route, _WEBSOCKET)
    yield Question("no token", "an empty Authorization", route, (("Authorization", ""),))
    yield Question("no token", "an invented token without a signature", route, _bearer(_INVENTED))
    yield Question("no token", "user name and password", route, (("Authorization", "Basic YWRtaW46YWRtaW4="),))
    yield from _forged_targets(route, public)
    yield from _forged_callers(route)
    yield from _odd_paths(route, public)
    for path in (route, *public):
        # In a connection that becomes one of HTTP/2 the proxy sees no request any more.
        yield Question("tunnel", f"an upgrade to h2c at {path}", path, _H2C, is_served=path != route)


def about_tokens(route: str, token: str) -> Iterator[Question]:
    """Requests with a good token where none is to be found, or is not the only one."""
    good = ("Authorization", f"Bearer {token}")
    bad = ("Authorization", f"Bearer {_INVENTED}")
    joint = "&" if "?" in route else "?"
    yield Question("credentials", "a good token, then an invented one", route, (good, bad))
    yield Question("credentials", "an invented token, then a good one", route, (bad, good))
    yield Question("credentials", "a good token under Basic", route, (("Authorization", f"Basic {token}"),))
    yield Question("credentials", "a good token in the query", f"{route}{joint}access_token={token}")
    yield Question(
        "credentials", "a good token in X-Forwarded-Access-Token", route, (("X-Forwarded-Access-Token", token),)
    )


def _forged_targets(route: str, public: tuple[str, ...]) -> Iterator[Question]:
    """Another target or method is written where a proxy writes the true one."""
    area = "forged target"
    for path in public:
        for name in _TARGET_FIELDS:
            fields = ((name, path), ("X-Forwarded-Method", "GET"))
            yield Question(area, f"{name}: {path}", route, fields)
        name = "X-Forwarded-Uri"
        yield Question(area, f"{name}: {path}, twice", route, ((name, path), (name, path)))
        yield Question(area, f"{name}: the route, then {path}", route, ((name, route), (name, path)))
        yield Question(area, f"{name}: {path}, then the route", route, ((name, path), (name, route)))
        for other in _SPELLINGS:
            spelled = name.replace("-", other)
            fields = ((spelled, path), ("X-Forwarded-Method".replace("-", other), "GET"))
            yield Question("other spellings", f"{spelled}: {path}", route, fields)
    for name in ("X-Forwarded-Method", "X-Original-Method", "X-HTTP-Method-Override"):
        yield Question(area, f"{name}: OPTIONS", route, ((name, "OPTIONS"),))


def _forged_callers(route: str) -> Iterator[Question]:
    """Fields that name another caller, or one that was checked already."""
    area = "forged caller"
    for name in ("X-Forwarded-For", "X-Real-IP", "X-Client-Address"):
        yield Question(area, f"{name}: 127.0.0.1", route, ((name, "127.0.0.1"),))
    yield Question(area, "Forwarded: for=127.0.0.1", route, (("Forwarded", "for=127.0.0.1"),))
    for name in ("X-Token-Subject", "X-Auth-Request-User", "Remote-User"):
        yield Question(area, f"{name}: admin", route, ((name, "admin"),))
    for other in _SPELLINGS:
        spelled = "X-Token-Subject".replace("-", other)
        yield Question("other spellings", f"{spelled}: admin", route, ((spelled, "admin"),))


def _odd_paths(route: str, public: tuple[str, ...]) -> Iterator[Question]:
    """Paths that some read as the route and others as another one."""
    path, mark, query = route.partition("?")
    letter = next((place for place, one in enumerate(path) if one.isalpha()), None)
    last = path.rstrip("/").rfind("/")
    odd = {
        f"/{path}": "a doubled slash",
        f"/.{path}": "a dot segment",
        f"/x/..{path}": "a parent segment",
        f"/x/%2e%2e{path}": "an encoded parent segment",
        f"/%2f{path[1:]}": "an encoded slash",
        f"{path}/": "a slash at the end",
        f"{path}/.": "a dot at the end",
        f"{path};x": "a parameter",
        f"{path};.css": "a parameter that looks like a file",
        f"{path}.json": "a suffix",
        f"{path}%20": "an encoded blank at the end",
        f"{path}%00": "an encoded NUL",
        f"{path}%2f": "an encoded slash at the end",
        f"http://localhost{path}": "an absolute target",
        path.swapcase(): "other case",
    }
    if letter is not None:
        odd[f"{path[:letter]}%{ord(path[letter]):02x}{path[letter + 1 :]}"] = "an encoded letter"
    if last > 0:
        odd |= {
            f"{path[:last]}//{path[last + 1 :]}": "a doubled slash inside",
            f"{path[:last]}%2f{path[last + 1 :]}": "an encoded slash inside",
            f"{path[:last]}\\{path[last + 1 :]}": "a backslash",
        }
    for other in public:
        if other != "/":
            odd |= {
                f"{other}/..{path}": f"a parent segment behind {other}",
                f"{other}/%2e%2e{path}": f"an encoded parent segment behind {other}",
                f"{other}/..;{path}": f"a parent segment with a parameter behind {other}",
                f"{other}/..%2f{path[1:]}": f"a parent segment with an encoded slash behind {other}",
            }
    odd.pop(path, None)
    for target, text in odd.items():
        yield Question("odd paths", f"{text}: {target}", f"{target}{mark}{query}")


def _bearer(token: str) -> Fields:
    return (("Authorization", f"Bearer {token}"),)
