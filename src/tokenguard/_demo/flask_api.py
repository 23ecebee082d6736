"""The Flask service, served by threads. Owns: one guarded route. Must not know: the requests of the demonstration."""

from __future__ import annotations

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from tokenguard._demo.service import SCOPE, announce, stop_with_parent, validator
from tokenguard.flask import TokenGuard, current_token, require_scope

app = Flask(__name__)
guard = TokenGuard(app, validator())


@app.get("/orders")
@require_scope(SCOPE)
def orders() -> dict[str, str | None]:
    """The guarded route."""
    return {"orders_of": current_token.client_id}


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """No access log: the table shows the requests."""


def main() -> None:
    """Serve until the parent ends."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    announce(server.port)
    stop_with_parent(server.shutdown)
    server.serve_forever()


if __name__ == "__main__":
    main()
