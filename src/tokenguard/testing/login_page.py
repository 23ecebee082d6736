"""The pages of a test issuer: the choice of a person, and errors. FOR DEVELOPMENT ONLY, as each page states.

Owns: HTML and the fields that keep it apart from other sites. Must not know: which requests are good. Nothing is loaded
from anywhere, and no script runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

from tokenguard.testing.traffic import Response

__all__ = ["SAFE", "choice", "wrong"]

SAFE: Final = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "same-origin"),  # "no-referrer" would send the form's Origin as "null"
    ("X-Content-Type-Options", "nosniff"),
)
# Without `form-action`: browsers hold the redirection after the form to it, and it cannot name [::1].
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
_STYLE: Final = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 26rem; margin: 3rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; }
.loud { border: 2px solid #c2410c; border-radius: .5rem; padding: .6rem .9rem; }
button { display: block; width: 100%; margin: .5rem 0; padding: .7rem; font: inherit; cursor: pointer; }
code { overflow-wrap: anywhere; }
"""
_LOUD: Final = (
    '<p class="loud"><strong>For development only.</strong> This issuer asks for no password:'
    " whoever can open this page can be anybody on it.</p>"
)


def choice(parameters: Mapping[str, str], people: Iterable[str], client_id: str, scope: str, origin: str) -> Response:
    """The page on which one chooses a person. The form sends `parameters` again, with `person` or `deny`."""
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in parameters.items()
        if name not in ("person", "deny")
    )
    buttons = "".join(
        f'<button name="person" value="{escape(person)}">Log in as {escape(person)}</button>' for person in people
    )
    asked = ", ".join(f"<code>{escape(name)}</code>" for name in scope.split()) or "no scope"
    body = (
        f"<p><code>{escape(client_id)}</code> at <code>{escape(origin)}</code> asks for {asked}.</p>"
        f'<form method="post">{hidden}{buttons}<button name="deny" value="deny">Say no</button></form>'
    )
    return _page(200, "Who are you?", body)


def wrong(text: str) -> Response:
    """The page about a request that must not be answered anywhere else."""
    return _page(400, "This request cannot be answered", f"<p>{escape(text)}</p>")


def _page(status: int, title: str, body: str) -> Response:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} (development issuer)</title><style>{_STYLE}</style></head>"
        f"<body><h1>{title}</h1>{_LOUD}{body}</body></html>"
    )
    headers = (("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", _POLICY), *SAFE)
    return Response(status, text.encode(), headers)
