"""A Falcon service: the middleware guards every path, resources name the scopes that they need. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    gunicorn --chdir examples falcon_app:app
"""

from typing import Any, NoReturn

import falcon

from tokenguard import AccessToken, InsufficientScopeError, TokenGuardError, TokenValidator
from tokenguard.wsgi import BearerMiddleware


def token(request: falcon.Request) -> AccessToken:
    found: AccessToken = request.env["tokenguard.access_token"]
    return found


class Scopes:
    def process_resource(self, req: falcon.Request, resp: falcon.Response, resource: Any, params: Any) -> None:
        scopes = getattr(resource, "scopes", ())
        if scopes and not token(req).has_scope(*scopes):
            raise InsufficientScopeError(scopes)


def leave_to_the_middleware(_: Any, __: Any, error: Exception, ___: Any) -> NoReturn:
    raise error


class Health:
    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        response.media = {"status": "up"}


class Me:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = {"subject": token(request).subject}


class Orders:
    scopes = ("orders:read",)

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = {"orders": [f"of {token(request).subject}"]}


api = falcon.App(middleware=Scopes())
api.add_error_handler(TokenGuardError, leave_to_the_middleware)
for path, resource in {"/health": Health(), "/me": Me(), "/orders": Orders()}.items():
    api.add_route(path, resource)

app = BearerMiddleware(api, TokenValidator.from_env(), public="/health")
