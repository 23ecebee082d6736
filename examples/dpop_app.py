"""An API whose tokens are bound to the clients' keys (RFC 9449), on FastAPI. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
TOKENGUARD_DPOP_BASE_URL=https://api.example.com uvicorn dpop_app:app --app-dir examples

TOKENGUARD_DPOP_REQUIRED=true rejects plain bearer tokens, TOKENGUARD_DPOP_NONCE_SECRET asks for nonces, and
TOKENGUARD_REDIS_URL shares used proofs between processes.
"""

from typing import Annotated

from fastapi import FastAPI, Security
from fastapi.middleware.cors import CORSMiddleware

from tokenguard import AccessToken, TokenValidator
from tokenguard.fastapi import BearerToken, add_error_handler

validator = TokenValidator.from_env()
bearer = BearerToken(validator, realm="orders")

app = FastAPI()
add_error_handler(app)
app.add_middleware(  # for pages of another origin: they sign proofs, and must see challenges and nonces
    CORSMiddleware,
    allow_origins=["https://app.example.com"],
    allow_headers=["Authorization", "DPoP"],
    expose_headers=["WWW-Authenticate", "DPoP-Nonce"],
)


@app.get("/orders")
async def orders(token: Annotated[AccessToken, Security(bearer, scopes=["orders:read"])]) -> dict[str, object]:
    """The caller, and its key."""
    return {"orders": [], "for": token.client_id, "key": token.confirmation.get("jkt")}
