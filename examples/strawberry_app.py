"""A GraphQL service on Strawberry: the middleware guards its one path, permissions ask for scopes. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    uvicorn strawberry_app:app --app-dir examples
"""

from collections.abc import AsyncIterator
from typing import Any

import strawberry
from strawberry.asgi import GraphQL
from strawberry.permission import BasePermission

from tokenguard import AccessToken, TokenValidator
from tokenguard.asgi import BearerMiddleware


def token(info: strawberry.Info[Any, Any]) -> AccessToken:
    found: AccessToken = info.context["request"].scope["tokenguard.access_token"]
    return found


class MayWrite(BasePermission):
    message = "The access token does not grant the required scope."
    error_extensions: dict[str, Any] | None = {"code": "insufficient_scope", "scope": "orders:write"}  # noqa: RUF012

    def has_permission(self, source: Any, info: strawberry.Info[Any, Any], **kwargs: Any) -> bool:
        return token(info).has_scope("orders:write")


@strawberry.type
class Query:
    @strawberry.field
    def orders(self, info: strawberry.Info[Any, Any]) -> list[str]:
        return [f"of {token(info).subject}"]


@strawberry.type
class Mutation:
    @strawberry.mutation(permission_classes=[MayWrite])  # type: ignore[untyped-decorator]
    def cancel(self, number: int) -> str:
        return f"cancelled {number}"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def placed(self, info: strawberry.Info[Any, Any]) -> AsyncIterator[str]:
        yield f"of {token(info).subject}"


graphql: Any = GraphQL(strawberry.Schema(Query, Mutation, Subscription))
# Browsers offer `graphql-transport-ws, bearer, <token>`; the application sees the first of them alone.
app = BearerMiddleware(graphql, TokenValidator.from_env(), scope="orders:read", subprotocol="bearer")
