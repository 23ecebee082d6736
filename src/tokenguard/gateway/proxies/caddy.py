"""Caddy: `forward_auth`.

Owns: the text of the `Caddyfile`. Must not know: how values are checked (`plan`).

`request_header` runs after `forward_auth` unless both are in a `route` block, which keeps their order: outside of it
the claims of the gateway would be deleted instead of those of the client. Versions from 2.10.0 to early 2026 left a
field of the client's where the answer had none.
"""

from __future__ import annotations

from typing import Final

from tokenguard.gateway.proxies.plan import Plan, fill

__all__ = ["MAIN", "files"]

MAIN: Final = "Caddyfile"

_TEXT: Final = """
# Caddy 2.11 or later, in front of <<upstream>>; tokenguard at <<gateway>> gives the verdicts.
#   caddy run --adapter caddyfile --config <<main>>
{
	admin off
	auto_https off
	persist_config off
	log {
		output stderr
		level WARN
	}
	servers {
		protocols h1
		max_header_size 96KB
	}
}

http://:<<port>> {
	bind <<host>>

	@websocket header_regexp Upgrade (?i)^websocket$
	@other_protocol not header_regexp Upgrade (?i)^websocket$

	# In a route block, in this order: what a client says of itself goes first, then the gateway is asked.
	route {
		# Websockets and nothing else: an API that takes h2c would have a tunnel in which nobody is asked.
		request_header @other_protocol -Upgrade
		request_header @websocket Upgrade websocket
		request_header -HTTP2-Settings
		# Caddy leaves out the fields that Connection names, those of the gateway among them.
		request_header @other_protocol -Connection
		request_header @websocket Connection Upgrade
<<metadata>><<strip>>
		vars tokenguard asks
		forward_auth <<gateway>> {
			uri /auth
			header_up -Upgrade
			header_up -Connection<<claims>><<client_address>>
			transport http {
				dial_timeout 2s
				response_header_timeout 15s
			}
		}
		vars tokenguard passed
		reverse_proxy <<upstream>>
	}

	# The gateway does not answer: nobody knows whether the token is good.
	handle_errors {
		@tokenguard vars tokenguard asks
		header @tokenguard Retry-After 1
		header @tokenguard Cache-Control no-store
		header @tokenguard Content-Type application/problem+json
		respond @tokenguard `<<unavailable>>` 503
	}
}
"""

_METADATA: Final = """
		# Needs no token (RFC 9728).
		handle <<path>> {
			rewrite * <<path>>
			reverse_proxy <<gateway>>
		}
"""


def files(plan: Plan) -> dict[str, str]:
    """The files by their names, the main one last."""
    names = [f"{plan.claim_prefix}*"] if plan.claim_prefix else list(plan.claims)
    strip = [f"\t\trequest_header -{name.replace('-', other)}" for other in "-_." for name in names]
    address = f"\n\t\t\theader_up {plan.client_address} {{remote_host}}" if plan.client_address else ""
    text = fill(
        _TEXT,
        host=plan.listen.host,
        port=plan.listen.port,
        gateway=plan.gateway,
        upstream=plan.upstream,
        main=f"{plan.prefix}{MAIN}",
        strip="\n".join(strip),
        claims=f"\n\t\t\tcopy_headers {' '.join(plan.claims)}" if plan.claims else "",
        client_address=address,
        metadata="" if plan.metadata is None else fill(_METADATA, path=plan.metadata, gateway=plan.gateway),
        unavailable=plan.unavailable.body.decode(),
    )
    return {MAIN: text}
