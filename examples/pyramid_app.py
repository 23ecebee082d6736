"""A Pyramid service: the middleware guards every path, a view's `scope=` asks for scopes. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    gunicorn --chdir examples pyramid_app:app
"""

from typing import Any

from pyramid.config import Configurator  # type: ignore[import-untyped]

from tokenguard import AccessToken, InsufficientScopeError, TokenValidator
from tokenguard.wsgi import BearerMiddleware


def token(request: Any) -> AccessToken | None:
    found: AccessToken | None = request.environ["tokenguard.access_token"]
    return found


def scopes(view: Any, info: Any) -> Any:
    """A view deriver: Pyramid asks it once for each view."""
    wanted = tuple(info.options.get("scope", "").split())
    if not wanted:
        return view

    def guarded(context: Any, request: Any) -> Any:
        if not request.token.has_scope(*wanted):
            raise InsufficientScopeError(wanted)  # goes through Pyramid to the middleware, which answers
        return view(context, request)

    return guarded


scopes.options = ("scope",)  # type: ignore[attr-defined]


def health(_: Any) -> dict[str, str]:
    return {"status": "up"}


def me(request: Any) -> dict[str, str | None]:
    return {"subject": request.token.subject}


def orders(request: Any) -> dict[str, list[str]]:
    return {"orders": [f"of {request.token.subject}"]}


config: Any = Configurator()
config.add_request_method(token, reify=True)
config.add_view_deriver(scopes)
for view, options in {health: {}, me: {}, orders: {"scope": "orders:read"}}.items():
    config.add_route(view.__name__, f"/{view.__name__}")
    config.add_view(view, route_name=view.__name__, renderer="json", **options)

app = BearerMiddleware(config.make_wsgi_app(), TokenValidator.from_env(), public="/health")
