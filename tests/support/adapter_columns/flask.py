"""Flask's decorators. Flask answers OPTIONS itself, which browsers' preflights need."""

from flask import Flask
from request_table import by_wsgi

from tokenguard.flask import TokenGuard, require, require_scope

METHODS = ("GET", "HEAD", "POST")


def columns(validator, scopes, requirement, settings):
    app = Flask("columns")
    TokenGuard(app, validator, **settings)
    guard = require(requirement) if requirement is not None else require_scope(*scopes)

    @app.route("/sync", methods=METHODS)
    @guard
    def synchronous():
        return "reached"

    @app.route("/async", methods=METHODS)
    @guard
    async def asynchronous():
        return "reached"

    return {
        "flask sync": by_wsgi(app, ("flask",), "/sync", methods=METHODS),
        "flask async": by_wsgi(app, ("flask",), "/async", methods=METHODS),
    }
