"""Django REST framework in one file. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    gunicorn --chdir examples drf_app:app
"""

from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from tokenguard import TokenValidator

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["rest_framework", "tokenguard.django"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["tokenguard.drf.BearerAuthentication"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "EXCEPTION_HANDLER": "tokenguard.drf.exception_handler",
        "UNAUTHENTICATED_USER": None,  # else django.contrib.auth, and its tables
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="for this example",
    TOKENGUARD={"VALIDATOR": TokenValidator.from_env},
)
app = get_wsgi_application()

# These imports need the settings above.
from django.urls import path  # noqa: E402
from rest_framework.decorators import api_view, permission_classes  # noqa: E402
from rest_framework.permissions import AllowAny  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from tokenguard.drf import Requires  # noqa: E402


@api_view(["GET"])
@permission_classes([AllowAny])
def health(_: Request) -> Response:
    return Response({"status": "up"})


class Me(APIView):
    def get(self, request: Any) -> Response:
        return Response({"subject": request.auth.subject, "pk": request.user.pk})


class Orders(APIView):
    permission_classes = (Requires("orders:read"),)

    def get(self, request: Any) -> Response:
        return Response({"orders": [f"of {request.auth.subject}"]})


urlpatterns = [path("health", health), path("me", Me.as_view()), path("orders", Orders.as_view())]
