"""HAProxy: a Lua action with its HTTP client.

Owns: the texts of `haproxy.cfg` and `tokenguard.lua`. Must not know: how values are checked (`plan`).

HAProxy goes on after an action that failed. So the action says yes by a variable, and without it nothing passes.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from tokenguard.challenge import Rejection, problem
from tokenguard.gateway.proxies.plan import Plan, fill, quoted

__all__ = ["MAIN", "files"]

MAIN: Final = "haproxy.cfg"
_ACTION: Final = "tokenguard.lua"

_TEXT: Final = """
# HAProxy 2.6 or later, in front of <<upstream>>; tokenguard at <<gateway>> gives the verdicts.
#   haproxy -db -f <<main>>

global
    log stderr format raw local0 warning
    default-path config
    tune.bufsize 98304
    lua-load tokenguard.lua

defaults
    mode http
    log global
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout http-request 15s
    timeout tunnel 1h

frontend tokenguard
    bind <<listen>>
    # Trailer fields pass untouched, and some servers add them to the header: a client would write its own claims. So
    # no body without a length, in which alone they can be, and no HTTP/2, where they can follow any body.
    option disable-h2-upgrade
    http-request return <<length_required>> if { req.hdr(Transfer-Encoding) -m found }
    # What a client says of itself goes first, in every spelling.
<<strip>>
    http-request set-header X-Forwarded-For %[src]
    # Websockets and nothing else: an API that takes h2c would have a tunnel in which nobody is asked.
    acl websocket req.hdr(Upgrade) -i websocket
    http-request set-header Upgrade websocket if websocket
    http-request del-header Upgrade unless websocket
    http-request del-header HTTP2-Settings
<<metadata_path>>    http-request lua.tokenguard<<unless>>
    # An action that failed says nothing: then nobody knows whether the token is good.
    http-request return <<unavailable>> unless { var(txn.tokenguard) -m str passed }<<or_metadata>>
<<metadata_backend>>    default_backend api

backend api
    server api <<upstream>>
<<metadata_server>><<name>>"""

_NAME: Final = """
# Lua asks through this: its client looks a name up in DNS alone, which knows nothing of /etc/hosts.
listen tokenguard-name
    bind <<socket>>
    server tokenguard <<gateway>>
"""

_UNAVAILABLE: Final = (
    "status 503 content-type application/problem+json string '{}' hdr Retry-After 1 hdr Cache-Control no-store"
)

_LENGTH_REQUIRED: Final = "status 411 content-type application/problem+json string '{}' hdr Cache-Control no-store"

_LUA: Final = """
-- Asks tokenguard about each request: what it rejects is answered here, whole.

local gateway = "http://<<gateway>>/request/"
local claims = { <<claims>> }
local of_one_connection = {
  ["connection"] = true, ["content-length"] = true, ["keep-alive"] = true, ["transfer-encoding"] = true,
}

local function every(values)
  local list = {}
  if values then
    for number = 0, #values do list[#list + 1] = values[number] end
  end
  return list
end

core.register_action("tokenguard", { "http-req" }, function(txn)
  local target = txn.f:pathq()
  -- With other octets in it the gateway's server would not read the question: its answer would not be the gateway's.
  if not target or target:sub(1, 1) ~= "/" or target:find("[^!-~]") then
    local reply = txn:reply{ status = 400, reason = "Bad Request", body = <<bad_request>> }
    reply:add_header("WWW-Authenticate", <<challenge>>)
    reply:add_header("Content-Type", "application/problem+json")
    reply:add_header("Cache-Control", "no-store")
    return txn:done(reply)
  end

  local fields = { ["host"] = { "tokenguard" } }
  local authorization = every(txn.http:req_get_headers()["authorization"])
  if #authorization > 0 then fields["authorization"] = authorization end<<client_address>>
  local url = gateway .. txn.f:method() .. target
  local answer = core.httpclient():get{ url = url, headers = fields, timeout = 15000<<through>> }

  if answer.status == 200 then
    for _, name in ipairs(claims) do
      txn.http:req_set_header(name, every(answer.headers[name:lower()])[1] or "")
    end
    txn:set_var("txn.tokenguard", "passed")
  elseif answer.headers and every(answer.headers["cache-control"])[1] == "no-store" then -- else HAProxy's own answer
    local reply = txn:reply{ status = answer.status, reason = answer.reason, body = answer.body }
    for name, values in pairs(answer.headers) do
      if not of_one_connection[name] then
        for _, value in ipairs(every(values)) do reply:add_header(name, value) end
      end
    end
    txn:done(reply)
  end
end)
"""


def files(plan: Plan) -> dict[str, str]:
    """The files by their names, the main one last."""
    address = f'\n  fields["{plan.client_address.lower()}"] = {{ txn.f:src() }}' if plan.client_address else ""
    path = plan.metadata
    socket = None if plan.gateway.is_literal else f"abns@tokenguard-{plan.listen.port}"
    lua = fill(
        _LUA,
        gateway=plan.gateway,
        claims=quoted(plan.claims),
        client_address=address,
        through="" if socket is None else f', dst = "{socket}"',
        # What JSON escapes in ASCII without control characters, Lua escapes alike.
        bad_request=json.dumps(plan.bad_request.body.decode()),
        challenge=json.dumps(dict(plan.bad_request.headers)["WWW-Authenticate"]),
    )
    text = fill(
        _TEXT,
        listen=plan.listen,
        gateway=plan.gateway,
        upstream=plan.upstream,
        main=f"{plan.prefix}{MAIN}",
        strip="\n".join(f"    http-request del-header {regex} -m reg" for regex in plan.other_spellings),
        metadata_path="" if path is None else f"    acl metadata path -m str {path} # needs no token (RFC 9728)\n",
        unless="" if path is None else " unless metadata",
        or_metadata="" if path is None else " or metadata",
        metadata_backend="" if path is None else "    use_backend tokenguard if metadata\n",
        metadata_server="" if path is None else f"\nbackend tokenguard\n    server tokenguard {plan.gateway}\n",
        name="" if socket is None else "\n" + fill(_NAME, socket=socket, gateway=plan.gateway),
        length_required=_LENGTH_REQUIRED.format(_no_length().body.decode()),
        unavailable=_UNAVAILABLE.format(plan.unavailable.body.decode()),
    )
    return {_ACTION: lua, MAIN: text}


def _no_length() -> Rejection:
    return problem(HTTPStatus.LENGTH_REQUIRED, "The request must say how long its body is.")
