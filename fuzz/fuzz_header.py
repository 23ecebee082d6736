"""The header parser: the values of all `Authorization` fields, one to a line, and on the last line the query.

Holds: a token or a refusal, nothing else; a token only where a second reader sees the same one; never two credentials.
"""

import sys
from urllib.parse import unquote_to_bytes

import atheris

with atheris.instrument_imports(include=["tokenguard"]):
    from tokenguard import RejectedError
    from tokenguard._oauth.credential import credential
    from tokenguard.challenge import reject

from oracles import bearer_token


def one(data: bytes) -> None:
    *values, query = data.decode("latin-1").split("\n")
    try:
        token = credential(values, query)
    except RejectedError as error:
        token = None
        answer = reject(error, show_reason=True)
        assert answer.status in (400, 401)
        assert all(value.isascii() and value.isprintable() for _, value in answer.headers)
        twice = len(values) == 1 and ("access_token" in query or "%" in query)
        assert bearer_token(values) is None or twice, "refused, and a second reader sees nothing wrong"
    if token is not None:
        assert token == bearer_token(values)
        names = [pair.partition("=")[0] for pair in query.replace("+", " ").split("&")]
        assert all(unquote_to_bytes(name) != b"access_token" for name in names if name.isascii())


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
