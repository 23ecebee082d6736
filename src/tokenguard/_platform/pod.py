"""What Kubernetes gives to a pod: the service account's token, the cluster's CA, the API server's internal address.

Owns: their places, and the error outside of a cluster. Must not know: settings, requests.
https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final, Self

from tokenguard._jose import base64url, strict_json
from tokenguard.errors import ConfigurationError
from tokenguard.secret_file import SecretFile

FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# The API server's key set in the cluster. Its metadata has the external address, which a pod may be unable to reach,
# and whose certificate differs.
_JWKS_URI: Final = "https://kubernetes.default.svc/openid/v1/jwks"
_DEFAULT_ISSUER: Final = "https://kubernetes.default.svc.cluster.local"  # of kubeadm


class Pod:
    """The service account of this process."""

    def __init__(self, token: SecretFile, context: ssl.SSLContext) -> None:
        self._token = token
        self._context = context

    @classmethod
    def here(cls) -> Self:
        """The one that is mounted. Raises `ConfigurationError` if there is none."""
        try:
            token = SecretFile(FOLDER / "token")
            token()
            return cls(token, ssl.create_default_context(cafile=FOLDER / "ca.crt"))
        except (ConfigurationError, OSError):  # an SSLError is one
            raise ConfigurationError(
                f"in_cluster=True needs a pod with a service account, whose token and ca.crt are in {FOLDER}:"
                " leave it out elsewhere, and see that automountServiceAccountToken is not false"
            ) from None

    def issuer(self) -> str:
        """The issuer of the token, which is the cluster's, as the cluster mounted it."""
        try:
            claims = strict_json.parse_object(base64url.decode(self._token().split(".")[1].encode("ascii")))
        except (ValueError, IndexError):
            return _DEFAULT_ISSUER
        issuer = claims.get("iss")
        return issuer if isinstance(issuer, str) and issuer else _DEFAULT_ISSUER

    def settings(self) -> dict[str, Any]:
        """Those of an `Issuer`."""
        return {"jwks_uri": _JWKS_URI, "jwks_bearer_token": self._token, "jwks_ssl_context": self._context}
