"""Django's middleware, and its decorator without the middleware, under WSGI and under ASGI."""

from django.http import HttpResponse
from django.urls import path
from django_project import MIDDLEWARE, Project
from request_table import Column

from tokenguard.django import require


def columns(validator, scopes, requirement, settings):
    def synchronous(request):
        return HttpResponse("reached")

    async def asynchronous(request):
        return HttpResponse("reached")

    given = {"VALIDATOR": validator, **{name.upper(): value for name, value in settings.items()}}
    wanted = {"REQUIRE": requirement} if requirement is not None else {"SCOPE": scopes}
    guard = require(requirement) if requirement is not None else require(*scopes)
    plain = [path("sync", synchronous), path("async", asynchronous)]
    behind = Project(plain, {**given, **wanted}, [MIDDLEWARE])
    decorated = Project([path("sync", guard(synchronous)), path("async", guard(asynchronous))], given)

    def wsgi(project, at):
        return Column(lambda m, q, f: project.wsgi(m, at, q, f), ("django",), at, joins_fields=True)

    def asgi(project, at):
        return Column(lambda m, q, f: project.asgi(m, at, q, f), ("django",), at)

    return {
        "django middleware sync": wsgi(behind, "/sync"),
        "django middleware async": asgi(behind, "/async"),
        "django view sync": wsgi(decorated, "/sync"),
        "django view async": asgi(decorated, "/async"),
    }
