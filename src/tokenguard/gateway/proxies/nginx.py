"""nginx: `auth_request`.

Owns: the text of `nginx.conf`. Must not know: how values are checked (`plan`).

`auth_request` understands 2xx, 401 and 403, drops every body and adds the challenge of a 401 to the answer that comes
after it. So the verdict is 200 or 403 here, and the main request asks for a rejection once more: its answer passes
whole. A subrequest gets every field that the client sent; so none is passed on, and the request is in the
target.
"""

from __future__ import annotations

from typing import Final

from tokenguard.gateway.proxies.plan import Plan, fill

__all__ = ["MAIN", "files"]

MAIN: Final = "nginx.conf"

_TEXT: Final = """
# nginx 1.22 or later, in front of <<upstream>>; tokenguard at <<gateway>> gives the verdicts.
#   nginx -e stderr -p DIRECTORY -c <<main>> -g 'daemon off;'

worker_processes auto;
pid <<directory>>nginx.pid;
error_log stderr warn;

events {
    worker_connections 1024;
}

http {
    access_log off;
    server_tokens off;
    client_body_temp_path <<directory>>temp-client-body;
    proxy_temp_path <<directory>>temp-proxy;
    fastcgi_temp_path <<directory>>temp-fastcgi;
    uwsgi_temp_path <<directory>>temp-uwsgi;
    scgi_temp_path <<directory>>temp-scgi;

    # Other spellings of a claim field (X_Token_Subject, X.Token.Subject) never get further than this.
    ignore_invalid_headers on;
    underscores_in_headers off;

    large_client_header_buffers 4 64k; # a token may be long
    client_max_body_size 0; # what a body may be is the API's matter
    proxy_http_version 1.1;
    proxy_buffer_size 16k;
    proxy_buffers 8 16k;
    proxy_max_temp_file_size 0;

    # Websockets and nothing else: an API that takes h2c would have a tunnel in which nobody is asked.
    map $http_upgrade $tokenguard_upgrade {
        default "";
        "~*^websocket$" websocket;
    }
    map $tokenguard_upgrade $tokenguard_connection {
        default "";
        websocket upgrade;
    }
    geo $tokenguard_challenge { # geo: a text in which nothing is a variable
        default '<<challenge>>';
    }

    upstream tokenguard_gateway {
        server <<gateway>>;
        keepalive 32;
    }
    upstream tokenguard_api {
        server <<upstream>>;
        keepalive 32;
    }

    server {
        listen <<listen>>;
        # nginx itself rejects two Authorization fields, and what it cannot read. A named location would need a path.
        error_page 400 494 /-/tokenguard/bad-request;

        location / {
            auth_request /-/tokenguard/verdict;
<<claims>>
            # What the API answers passes untouched: nothing here intercepts errors of <<upstream>>.
            error_page 403 500 = @tokenguard_refusal;
            recursive_error_pages on;

            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade $tokenguard_upgrade;
            proxy_set_header Connection $tokenguard_connection;
            proxy_set_header HTTP2-Settings "";
            proxy_request_buffering off;
            # The target as it was sent, which is what the gateway was asked about.
            proxy_pass http://tokenguard_api$request_uri;
        }

<<metadata>>        location = /-/tokenguard/verdict {
            internal;
<<question>>            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_intercept_errors on;
            error_page 300 301 302 303 304 305 307 308 = @tokenguard_no;
            error_page 400 401 402 403 404 405 406 407 408 409 410 411 412 413 414 415 416 417 418 421 = @tokenguard_no;
            error_page 422 423 424 425 426 428 429 431 451 494 495 496 497 = @tokenguard_no;
            error_page 500 501 502 503 504 505 506 507 508 510 511 = @tokenguard_no;
            proxy_pass http://tokenguard_gateway/request/$request_method$request_uri;
        }

        location @tokenguard_no {
            return 403;
        }

        location @tokenguard_refusal {
<<question>>            # Else nginx writes a whole body of any size to its disk first, whoever sends it.
            proxy_request_buffering off;
            recursive_error_pages on;
            error_page 502 504 = @tokenguard_unavailable;
            proxy_pass http://tokenguard_gateway/refusal/$request_method$request_uri;
        }

        location @tokenguard_unavailable {
            default_type application/problem+json;
            add_header Retry-After 1 always;
            add_header Cache-Control no-store always;
            return 503 '<<unavailable>>';
        }

        location = /-/tokenguard/bad-request {
            internal;
            default_type application/problem+json;
            add_header WWW-Authenticate $tokenguard_challenge always;
            add_header Cache-Control no-store always;
            return 400 '<<bad_request>>';
        }
    }
}
"""

# The verdict and the rejection must be asked for with the same facts.
_QUESTION: Final = """
            proxy_method GET;
            proxy_pass_request_headers off;
            proxy_set_header Host tokenguard;
            proxy_set_header Connection "";
            proxy_set_header Authorization $http_authorization;<<client_address>>
            proxy_connect_timeout 2s;
            proxy_read_timeout 15s;
"""

_METADATA: Final = """
        location = <<path>> { # needs no token (RFC 9728)
            proxy_pass_request_headers off;
            proxy_request_buffering off;
            proxy_set_header Host tokenguard;
            proxy_set_header Connection "";
            proxy_pass http://tokenguard_gateway<<path>>;
        }

"""

_CLAIM: Final = """
            auth_request_set $tokenguard_claim_<<number>> $upstream_http_<<variable>>;
            proxy_set_header <<name>> $tokenguard_claim_<<number>>;
"""


def files(plan: Plan) -> dict[str, str]:
    """The files by their names, the main one last."""
    claims = [
        fill(_CLAIM, number=number, variable=name.lower().replace("-", "_"), name=name)
        for number, name in enumerate(plan.claims)
    ]
    address = f"\n            proxy_set_header {plan.client_address} $remote_addr;" if plan.client_address else ""
    text = fill(
        _TEXT,
        listen=plan.listen,
        gateway=plan.gateway,
        upstream=plan.upstream,
        main=f"{plan.prefix}{MAIN}",
        directory=plan.prefix,
        claims="".join(claims).rstrip("\n"),
        question=fill(_QUESTION, client_address=address),
        metadata="" if plan.metadata is None else fill(_METADATA, path=plan.metadata),
        challenge=dict(plan.bad_request.headers)["WWW-Authenticate"].replace("'", "\\'"),
        bad_request=plan.bad_request.body.decode(),
        unavailable=plan.unavailable.body.decode(),
    )
    return {MAIN: text}
