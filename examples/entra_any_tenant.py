"""A FastAPI service that is sold to many Entra tenants: iss and tid are checked for each, and customers come and go.

    uvicorn entra_any_tenant:app --app-dir examples

CUSTOMERS stands for your own table, kept in memory. A tenant that is not in it is rejected before anything is fetched.
"""

from typing import Annotated

from fastapi import FastAPI, HTTPException, Security

from tokenguard import AccessToken, Issuers, TokenValidator
from tokenguard.fastapi import BearerToken, add_error_handler

CUSTOMERS: dict[str, str] = {"11111111-1111-4111-8111-111111111111": "acme"}  # tenant id (tid) -> customer
ORDERS = {"acme": ["anvil", "rocket skates"]}

validator = TokenValidator(Issuers.entra(CUSTOMERS), audience="6e74172b-be56-4843-9ff4-e66a39bb12e3")
bearer = BearerToken(validator)
Token = Annotated[AccessToken, Security(bearer, scopes=["Orders.Read"])]

app = FastAPI()
add_error_handler(app)


@app.get("/orders")
async def orders(token: Token) -> dict[str, object]:
    # The tenant first: a subject or a role of one customer means nothing for another.
    customer = CUSTOMERS.get(token.tenant or "")
    if customer is None:  # removed since the token was validated
        raise HTTPException(403)
    return {"customer": customer, "person": token.claims.get("oid"), "orders": ORDERS.get(customer, [])}


@app.delete("/customers/{tenant}", include_in_schema=False)
async def leave(tenant: str, token: Annotated[AccessToken, Security(bearer, scopes=["Customers.Write"])]) -> None:
    """A customer ends its own contract: its tokens are rejected from the next request on."""
    if token.tenant != tenant:
        raise HTTPException(404)
    CUSTOMERS.pop(tenant, None)
