"""A gRPC server behind the interceptor: `python -m soak.grpc_app PORT`. One method, `/soak.Api/Call`, of octets."""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

from soak.app import make_validator
from tokenguard.grpc import BearerInterceptor


def call(request: bytes, context: grpc.ServicerContext) -> bytes:
    return b"ok"


def main(port: str) -> None:
    server = grpc.server(ThreadPoolExecutor(8), interceptors=[BearerInterceptor(make_validator(dpop=None))])
    handlers = {"Call": grpc.unary_unary_rpc_method_handler(call)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("soak.Api", handlers)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1])
