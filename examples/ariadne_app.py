"""A GraphQL service on Ariadne: the middleware guards its one path, resolvers ask for scopes. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    uvicorn ariadne_app:app --app-dir examples
"""

from typing import Any

from ariadne import MutationType, QueryType, make_executable_schema
from ariadne.asgi import GraphQL
from graphql import GraphQLError, GraphQLResolveInfo

from tokenguard import AccessToken, TokenValidator
from tokenguard.asgi import BearerMiddleware

# `cancel` may be null: without any data Ariadne answers 400.
SCHEMA = """
type Query { orders: [String!]! }
type Mutation { cancel(number: Int!): String }
"""
query, mutation = QueryType(), MutationType()


def token(info: GraphQLResolveInfo[Any]) -> AccessToken:
    found: AccessToken = info.context["request"].scope["tokenguard.access_token"]
    return found


@query.field("orders")
def orders(_: Any, info: GraphQLResolveInfo[Any]) -> list[str]:
    return [f"of {token(info).subject}"]


@mutation.field("cancel")
def cancel(_: Any, info: GraphQLResolveInfo[Any], number: int) -> str:
    if not token(info).has_scope("orders:write"):
        details = {"code": "insufficient_scope", "scope": "orders:write"}
        raise GraphQLError("The access token does not grant the required scope.", extensions=details)
    return f"cancelled {number}"


graphql: Any = GraphQL(make_executable_schema(SCHEMA, query, mutation))
app = BearerMiddleware(graphql, TokenValidator.from_env(), scope="orders:read")
