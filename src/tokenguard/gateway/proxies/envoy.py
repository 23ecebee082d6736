"""Envoy: `ext_authz` over HTTP.

Owns: the text of `envoy.yaml`. Must not know: how values are checked (`plan`).

Envoy takes 200 for a yes and nothing else. A 4xx passes with the fields that are listed. Of a 5xx nothing passes: what
is written here replaces it, so that a client sees 503 with `Retry-After` and not 403.
"""

from __future__ import annotations

import json
from typing import Final

from tokenguard.gateway.proxies.plan import Address, Plan, fill

__all__ = ["MAIN", "files"]

MAIN: Final = "envoy.yaml"
_TYPES: Final = "type.googleapis.com/envoy.extensions.filters"

_TEXT: Final = """
# Envoy, in front of <<upstream>>; tokenguard at <<gateway>> gives the verdicts.
#   envoy --disable-hot-restart --log-level warn -c <<main>>

static_resources:
  listeners:
    - name: api
      address: {socket_address: {address: "<<host>>", port_value: <<port>>}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": <<types>>.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: api
                codec_type: AUTO
                use_remote_address: true
                max_request_headers_kb: 96
                # The gateway is asked about the path that the API gets: neither is changed.
                normalize_path: false
                merge_slashes: false
                path_with_escaped_slashes_action: REJECT_REQUEST
                common_http_protocol_options:
                  headers_with_underscores_action: REJECT_REQUEST
                upgrade_configs:
                  - upgrade_type: websocket
                route_config:
                  name: api
                  virtual_hosts:
                    - name: api
                      domains: ["*"]
                      routes:
<<metadata>>                        - match: {prefix: "/"}
                          route: {cluster: api, timeout: 60s}
                local_reply_config:
                  mappers:
                    # The gateway does not answer, or with 5xx (UAEX: by ext_authz).
                    - filter:
                        and_filter:
                          filters:
                            - response_flag_filter: {flags: [UAEX]}
                            - status_code_filter:
                                comparison: {op: EQ, value: {default_value: 503, runtime_key: tokenguard.unavailable}}
                      headers_to_add:
                        - header: {key: Retry-After, value: "1"}
                        - header: {key: Cache-Control, value: no-store}
                      body_format_override:
                        content_type: application/problem+json
                        text_format_source: {inline_string: <<unavailable>>}
                http_filters:
<<client_address>>                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      "@type": <<types>>.http.ext_authz.v3.ExtAuthz
                      transport_api_version: V3
                      failure_mode_allow: false
                      status_on_error: {code: ServiceUnavailable}
                      # Other spellings of a claim field are shown to the gateway, which answers them with 400.
                      allowed_headers:
                        patterns:
                          - exact: authorization
<<request_fields>>
                      http_service:
                        server_uri: {uri: "http://<<gateway>>", cluster: tokenguard, timeout: 15s}
                        path_prefix: /envoy
                        authorization_response:
<<claims>>                          allowed_client_headers:
                            patterns:
                              - exact: www-authenticate
                              - exact: retry-after
                              - exact: cache-control
                              - exact: content-type
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": <<types>>.http.router.v3.Router
  clusters:
<<clusters>>
"""

_CLAIM: Final = "                              - exact: {}"
# Envoy takes no list without an entry.
_CLAIMS: Final = """
                          allowed_upstream_headers:
                            patterns:
<<claims>>
"""

_METADATA: Final = """
                        - match: {path: "<<path>>"} # needs no token (RFC 9728)
                          route: {cluster: tokenguard, timeout: 15s}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": <<types>>.http.ext_authz.v3.ExtAuthzPerRoute
                              disabled: true
"""

_CLUSTER: Final = """
    - name: <<name>>
      type: STRICT_DNS
      dns_lookup_family: V4_PREFERRED
      connect_timeout: 2s
<<options>>      load_assignment:
        cluster_name: <<name>>
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: "<<host>>", port_value: <<port>>}}}
"""

# Shorter than the gateway keeps a connection: Envoy asks no second time if one is closed under its question.
_UNUSED: Final = """
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http_protocol_options: {}}
          common_http_protocol_options: {idle_timeout: 60s}
"""

_CLIENT_ADDRESS: Final = """
                  - name: envoy.filters.http.header_mutation
                    typed_config:
                      "@type": <<types>>.http.header_mutation.v3.HeaderMutation
                      mutations:
                        request_mutations:
                          - append:
                              header: {key: "<<name>>", value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
                              append_action: OVERWRITE_IF_EXISTS_OR_ADD
"""


def files(plan: Plan) -> dict[str, str]:
    """The files by their names, the main one last."""
    asked = [f'                          - safe_regex: {{regex: "{regex}"}}' for regex in plan.other_spellings]
    address = plan.client_address
    if address is not None:
        asked.append(f"                          - exact: {address.lower()}")
    text = fill(
        _TEXT,
        host=plan.listen.host,
        port=plan.listen.port,
        gateway=plan.gateway,
        upstream=plan.upstream,
        main=f"{plan.prefix}{MAIN}",
        types=_TYPES,
        # The body is JSON in a string of YAML, and a format: a percent sign would begin a command.
        unavailable=json.dumps(plan.unavailable.body.decode().replace("%", "%%")),
        client_address="" if address is None else fill(_CLIENT_ADDRESS, name=address, types=_TYPES),
        metadata="" if plan.metadata is None else fill(_METADATA, path=plan.metadata, types=_TYPES),
        request_fields="\n".join(asked),
        claims="" if not plan.claims else fill(_CLAIMS, claims="\n".join(map(_CLAIM.format, plan.claims)).lower()),
        clusters=(_cluster("tokenguard", plan.gateway, fill(_UNUSED)) + _cluster("api", plan.upstream)).rstrip("\n"),
    )
    return {MAIN: text}


def _cluster(name: str, address: Address, options: str = "") -> str:
    return fill(_CLUSTER, name=name, host=address.host, port=address.port, options=options)
