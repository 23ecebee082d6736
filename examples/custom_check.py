"""A rule of one's own, added to the built-in ones: only tokens of known tenants. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com TENANTS="north south" \
    python examples/custom_check.py < token.txt
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenguard import InvalidTokenError, Reason, RejectedError, TokenValidator


@dataclass(frozen=True)
class TenantIn:
    """The `tenant` claim must be one of `allowed`. Called for every token, after the built-in checks."""

    allowed: frozenset[str]

    def __call__(self, claims: Mapping[str, Any], now: float) -> None:
        tenant = claims.get("tenant")
        if not isinstance(tenant, str) or tenant not in self.allowed:
            raise InvalidTokenError(reason=Reason.INVALID_CLAIM)


def main() -> int:
    tenants = TenantIn(frozenset(os.environ["TENANTS"].split()))
    with TokenValidator.from_env(checks=[tenants]) as validator:
        try:
            token = validator.validate(sys.stdin.read().strip())
        except RejectedError as error:
            print(f"rejected: {error.reason}")
            return 1
    print(f"accepted: {token.subject} of {token.claims['tenant']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
