"""A gRPC service: an interceptor guards every method, the health service is public. Settings: TOKENGUARD_ISSUER and
TOKENGUARD_AUDIENCE. Serves until it is interrupted. Needs grpcio-health-checking beside the extra.

python examples/grpc_server.py 127.0.0.1:50051
"""

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1.health import HealthServicer  # type: ignore[import-untyped]
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server  # type: ignore[import-untyped]

from tokenguard import TokenValidator, UnavailableError
from tokenguard.grpc import BearerInterceptor, current_token

validator = TokenValidator.from_env()
guard = BearerInterceptor(
    validator,
    methods={"/shop.Orders/*": "orders:read", "/shop.Orders/Create": "orders:write"},
    public="/grpc.health.v1.Health/*",
)


class Orders:
    def Create(self, request: bytes, context: Any) -> bytes:  # noqa: N802 - as in a .proto file
        return f"created by {current_token().subject}".encode()

    def Watch(self, request: bytes, context: Any) -> Iterator[bytes]:  # noqa: N802
        for number in range(3):
            yield f"order {number} of {current_token().subject}".encode()


server = grpc.server(ThreadPoolExecutor(8), interceptors=[guard])
orders = Orders()
handlers: dict[str, Any] = {
    "Create": grpc.unary_unary_rpc_method_handler(orders.Create),
    "Watch": grpc.unary_stream_rpc_method_handler(orders.Watch),
}
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Orders", handlers)])
add_HealthServicer_to_server(HealthServicer(), server)
port = server.add_insecure_port(sys.argv[1])  # for development; a real one has TLS

try:
    validator.warm_up()
except UnavailableError:
    print("starting without keys: calls are UNAVAILABLE until the issuer answers", file=sys.stderr)
server.start()
signal.signal(signal.SIGTERM, lambda *_: server.stop(10))
print("port", port, flush=True)
server.wait_for_termination()
validator.close()
