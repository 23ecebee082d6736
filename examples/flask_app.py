"""A Flask service, made by a factory. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    gunicorn --chdir examples 'flask_app:create_app()'
"""

from flask import Blueprint, Flask

from tokenguard import TokenValidator
from tokenguard.flask import TokenGuard, current_token, require_scope

guard = TokenGuard()
api = Blueprint("api", __name__)


@api.get("/health")
def health() -> dict[str, str]:
    return {"status": "up"}  # only decorated views are guarded


@api.get("/me")
@require_scope()
def me() -> dict[str, str | None]:
    return {"subject": current_token.subject, "client": current_token.client_id}


@api.get("/orders")
@require_scope("orders:read")
def orders() -> dict[str, list[str]]:
    return {"orders": [f"of {current_token.subject}"]}


def create_app(validator: TokenValidator | None = None) -> Flask:
    app = Flask(__name__)
    guard.init_app(app, validator or TokenValidator.from_env())
    app.register_blueprint(api)
    return app
