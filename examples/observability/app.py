"""A FastAPI service with metrics for Prometheus at /metrics and audit records on standard error. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    uvicorn app:app --app-dir examples/observability
"""

import logging
from typing import Annotated

from fastapi import FastAPI, Security
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import make_asgi_app

from tokenguard import AccessToken, TokenValidator, audit, otel
from tokenguard.fastapi import BearerToken, add_error_handler

validator = TokenValidator.from_env()

# Metrics: any OpenTelemetry SDK and exporter will do.
otel.instrument(validator, meter_provider=MeterProvider([PrometheusMetricReader()]))

# Audit: where its records go is a matter of logging.
lines = logging.StreamHandler()
lines.setFormatter(audit.JsonFormatter())
logging.getLogger("tokenguard.audit").addHandler(lines)
logging.getLogger("tokenguard.audit").propagate = False  # so that handlers of the root logger write no line twice
audit.enable(validator, request_id_header="X-Request-ID")

app = FastAPI()
add_error_handler(app)
app.mount("/metrics", make_asgi_app())  # in production at a port of its own, or closed at the proxy
bearer = BearerToken(validator)


@app.get("/orders")
async def orders(token: Annotated[AccessToken, Security(bearer, scopes=["orders:read"])]) -> dict[str, str | None]:
    return {"orders_of": token.client_id}
