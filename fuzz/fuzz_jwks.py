"""The JWKS importer and the reader of server_metadata.

Holds: a set with usable keys or a failed fetch, nothing else; no key for a symmetric algorithm comes out of a fetched
set; importing the same document again gives the same set; no `repr` shows more than a kid and a type.
"""

import logging
import sys

import atheris

with atheris.instrument_imports(include=["tokenguard"]):
    from tokenguard._jose import strict_json
    from tokenguard._jose.key_set import KeySetError, import_set
    from tokenguard._oauth import server_metadata

from oracles import strict_object

logging.disable()


def one(data: bytes) -> None:
    try:
        document = strict_json.parse_object(data)
    except strict_json.MalformedJSONError:
        assert strict_object(data, None) is None, "refused, and a second reader sees nothing wrong"
        return
    assert strict_object(data, None) is not None, "accepted, and a second reader refuses it"
    found = server_metadata.read(200, data, "https://issuer.example")
    if found is not None:
        url = server_metadata.endpoint(found, "jwks_uri", "https://issuer.example", allow_insecure_http=False)
        assert url is None or url.lower().startswith("https://")
    try:
        keys = import_set(document)
    except KeySetError:
        return
    assert keys.keys
    assert import_set(document, previous=keys) is keys
    for key in keys.keys:
        assert not {"HS256", "HS384", "HS512"} & key.algorithms
        assert key.algorithms
        for algorithm in key.algorithms:
            assert key.verifies(algorithm, b"x.y", b"\x00" * 64) is False


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
