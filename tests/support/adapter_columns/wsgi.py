"""The WSGI middleware around a plain application."""

from request_table import by_wsgi, plain_wsgi

from tokenguard.wsgi import BearerMiddleware


def columns(validator, scopes, requirement, settings):
    wanted = {"require": requirement} if requirement is not None else {"scope": scopes}
    return {"wsgi": by_wsgi(BearerMiddleware(plain_wsgi, validator, **wanted, **settings), ("wsgi",))}
