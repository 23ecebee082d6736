"""django-ninja in one file: a decorator for each operation. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    uvicorn ninja_app:app --app-dir examples
"""

from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application

from tokenguard import TokenValidator
from tokenguard.django import require

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["ninja", "tokenguard.django"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for this example",
    TOKENGUARD={"VALIDATOR": TokenValidator.from_env},
)
app = get_asgi_application()

# These imports need the settings above.
from django.urls import path  # noqa: E402
from ninja import NinjaAPI  # noqa: E402
from ninja.decorators import decorate_view  # noqa: E402

api = NinjaAPI()


@api.get("/health")
def health(request: Any) -> dict[str, str]:
    return {"status": "up"}  # only decorated operations are guarded


@api.get("/me")
@decorate_view(require())
def me(request: Any) -> dict[str, str]:
    return {"subject": request.access_token.subject}


@api.get("/orders")
@decorate_view(require("orders:read"))
async def orders(request: Any) -> dict[str, list[str]]:
    return {"orders": [f"of {request.access_token.subject}"]}


urlpatterns = [path("", api.urls)]
