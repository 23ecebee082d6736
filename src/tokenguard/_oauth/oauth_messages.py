"""What the endpoints of an authorization server have in common: a form goes out, a strict JSON object comes back.

Owns: the form's header fields, when an answer is JSON at all, and which error codes may be named.
Must not know: which endpoint it is, what the members mean.
"""

from __future__ import annotations

import re
from typing import Any, Final

from tokenguard._flow.messages import Response
from tokenguard._jose import strict_json

FORM: Final = (("accept", "application/json"), ("content-type", "application/x-www-form-urlencoded"))
# RFC 9110 section 11.2:  token68 = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
TOKEN68: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)

# What may be named: codes of IANA's "OAuth Extensions Error Registry". Any other text may be a token, sent back.
REGISTERED: Final = frozenset(
    {
        "access_denied",
        "account_selection_required",
        "authorization_pending",
        "consent_required",
        "expired_token",
        "incompatible_ace_profiles",
        "insufficient_scope",
        "insufficient_user_authentication",
        "interaction_required",
        "invalid_authorization_details",
        "invalid_client",
        "invalid_dpop_proof",
        "invalid_grant",
        "invalid_request",
        "invalid_request_object",
        "invalid_request_uri",
        "invalid_scope",
        "invalid_target",
        "invalid_token",
        "login_required",
        "need_info",
        "registration_not_supported",
        "request_denied",
        "request_not_supported",
        "request_submitted",
        "request_uri_not_supported",
        "server_error",
        "slow_down",
        "temporarily_unavailable",
        "unauthorized_client",
        "unmet_authentication_requirements",
        "unsupported_grant_type",
        "unsupported_pop_key",
        "unsupported_response_type",
        "unsupported_token_type",
        "use_dpop_nonce",
    }
)


def members(response: Response) -> dict[str, Any] | None:
    """The JSON object in an answer; None for another content type, and for what is no strict JSON object."""
    content_type = response.headers.get("content-type")
    if content_type is not None and content_type.split(";", 1)[0].strip().lower() != "application/json":
        return None
    try:
        return strict_json.parse_object(response.body)
    except ValueError:
        return None
