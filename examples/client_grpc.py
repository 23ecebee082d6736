"""Call a gRPC service: call credentials for a channel. Settings: TOKENGUARD_CLIENT_ISSUER, _ID, _SECRET.

python examples/client_grpc.py payments.example.com:443 /shop.Payments/Pay
"""

import os
import sys
from pathlib import Path
from typing import Any

import grpc

from tokenguard import TokenGuardError
from tokenguard.client import TokenSource

tokens = TokenSource.from_env(allow_insecure_http=os.environ.get("ALLOW_HTTP") == "1")  # for development


class Authorize(grpc.AuthMetadataPlugin):
    """Called for each call, in a thread of gRPC's own. The token goes to this channel's host only."""

    def __call__(self, context: Any, callback: Any) -> None:
        try:
            callback((("authorization", tokens.token().authorization),), None)
        except TokenGuardError as error:
            callback((), error)


ca = Path(os.environ["GRPC_CA"]).read_bytes() if "GRPC_CA" in os.environ else None
credentials = grpc.composite_channel_credentials(
    grpc.ssl_channel_credentials(ca), grpc.metadata_call_credentials(Authorize())
)
with grpc.secure_channel(sys.argv[1], credentials) as channel:
    call: Any = channel.unary_unary(sys.argv[2])
    print(call(b"", timeout=10).decode())
