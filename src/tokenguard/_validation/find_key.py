"""Finding the one key that verifies a token, where the set in use does not simply have it.

Owns: when a key set is asked for once more on behalf of a token. Must not know: claims, how a set is fetched (`keys`).
"""

from __future__ import annotations

from typing import Final

from tokenguard._flow.effects import Flow
from tokenguard._issuer.keys import KeySource, Look
from tokenguard._jose import jws
from tokenguard._jose.jwk import Key
from tokenguard._jose.key_set import KeySet
from tokenguard.errors import InvalidTokenError, Reason

_ROUNDS: Final = 4  # looks at a set: after each pending fetch of another caller, and after one of our own


def find_key(unverified: jws.Unverified, source: KeySource, failed: Key | None) -> Flow[tuple[Key, KeySet]]:
    """The key that verifies `unverified`, and its set. `failed` was tried already.

    A refresh may be due; or none or several keys fit; or the one that fits does not verify. A set that may be out of
    date is fetched once more (`KeySource.refetch`), then the result is final: one token causes one fetch. Raises
    `unknown_key`, `signature`, or `KeysUnavailableError` where there are no keys, or where an absent key proves
    nothing.
    """
    keys = yield from source.attend()
    header = unverified.header
    tried = set() if failed is None else {failed}
    fitting: list[Key] = []
    look: Look = "again"
    for _ in range(_ROUNDS):
        fitting = keys.fitting(header.kid, header.alg)
        if keys.are_named and header.kid is not None and len(fitting) > 1:
            raise InvalidTokenError(reason=Reason.UNKNOWN_KEY)
        for key in fitting:
            if key not in tried:
                if key.verifies(header.alg, unverified.signing_input, unverified.signature):
                    return key, keys
                tried.add(key)
        if look == "last" or (look := (yield from source.refetch(keys))) == "none":
            break
        keys = yield from source.attend()
    if fitting:
        raise InvalidTokenError(reason=Reason.SIGNATURE)
    source.check_answered()
    raise InvalidTokenError(reason=Reason.UNKNOWN_KEY)
