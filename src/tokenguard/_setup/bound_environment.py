"""Settings of bound tokens, and of what processes share, from the environment.

Owns: the names under `DPOP_`, `MTLS_`, and `REDIS_URL`. Must not know: what a setting means, other settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from tokenguard._setup.variables import in_variables
from tokenguard.errors import ConfigurationError
from tokenguard.resource import DPoP, MutualTLS
from tokenguard.revocations import RevocationList
from tokenguard.secret_file import SecretFile

DPOP: Final = ("BASE_URL", "REQUIRED", "ALGORITHMS", "MAX_AGE", "NONCE_SECRET")
MTLS: Final = ("HEADER", "FORMAT", "TRUSTED", "REQUIRED")
SECRET: Final = "DPOP_NONCE_SECRET"


def settings_of(prefix: str, found: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`dpop`, `mtls` and `revocations`, as far as `found` has them and they are not `given`. `found`: typed values by
    the names without the prefix, a `SecretFile` for a file.

    One Redis keeps the denylist, introspection answers and used proofs. Raises `ConfigurationError`.
    """
    made: dict[str, Any] = {}
    store = None if "REDIS_URL" not in found else _redis_store(prefix, found["REDIS_URL"])
    if store is not None and "revocations" not in given:
        made["revocations"] = RevocationList(store)
    dpop = {name.lower(): found[f"DPOP_{name}"] for name in DPOP if f"DPOP_{name}" in found}
    if dpop and "dpop" not in given:
        if "base_url" not in dpop:
            raise ConfigurationError(
                f"{prefix}DPOP_BASE_URL must be set: the URL that clients call this API by, such as"
                " https://api.example.com"
            )
        if isinstance(dpop.get("nonce_secret"), SecretFile):
            dpop["nonce_secret"] = _Secrets(dpop["nonce_secret"])
        with in_variables({name.lower(): f"{prefix}DPOP_{name}" for name in DPOP}):
            made["dpop"] = DPoP(**dpop, replay=store)
    mtls = {name.lower(): found[f"MTLS_{name}"] for name in MTLS if f"MTLS_{name}" in found}
    if mtls and "mtls" not in given:
        with in_variables({name.lower(): f"{prefix}MTLS_{name}" for name in MTLS}):
            made["mtls"] = MutualTLS(**mtls)
    return made


class _Secrets:
    """The secrets in a file, separated by blanks, read at each use."""

    def __init__(self, file: SecretFile) -> None:
        self._file = file

    def __call__(self) -> list[str]:
        return self._file().split()


def _redis_store(prefix: str, url: str) -> Any:
    try:
        module: Any = import_module("tokenguard.redis")
    except ImportError:
        raise ConfigurationError(
            f"{prefix}REDIS_URL needs the extra redis: pip install 'tokenguard-oauth[redis]'"
        ) from None
    try:
        return module.RedisStore(url)
    except ConfigurationError as error:
        raise ConfigurationError(f"{prefix}REDIS_URL: {error}") from None
