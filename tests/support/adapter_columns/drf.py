"""Django REST framework with our authenticator, permission and exception handler."""

from django_project import Project  # isort: skip - Django's settings first

from django.http import HttpResponse
from django.urls import path
from request_table import Column
from rest_framework.views import APIView

from tokenguard.drf import BearerAuthentication, Requires

HANDLER = {"EXCEPTION_HANDLER": "tokenguard.drf.exception_handler"}


def columns(validator, scopes, requirement, settings):
    wanted = scopes if requirement is None else (requirement,)

    class Orders(APIView):
        authentication_classes = (BearerAuthentication,)
        permission_classes = (Requires(*wanted),)

        def get(self, request):
            return HttpResponse("reached")

        head = options = post = get

    given = {"VALIDATOR": validator, **{name.upper(): value for name, value in settings.items()}}
    project = Project([path("sync", Orders.as_view())], given, REST_FRAMEWORK=HANDLER)
    return {"drf": Column(lambda m, q, f: project.wsgi(m, "/sync", q, f), ("drf", "drf"), "/sync", joins_fields=True)}
