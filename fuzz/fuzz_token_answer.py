"""The token answer: status, content type, Retry-After and WWW-Authenticate, a line each, the body behind them.

Holds: a token or a failure, nothing else; a token only out of a 200 that a second reader finds good as well; codes that
are registered; a description that is short, printable and without the secret; a `Retry-After` within its bounds.
"""

import sys

import atheris

with atheris.instrument_imports(include=["tokenguard"]):
    from tokenguard._flow.messages import Response
    from tokenguard._oauth import challenges, client_auth
    from tokenguard._oauth.oauth_messages import REGISTERED
    from tokenguard._oauth.token_messages import Asked, TokenAnswerError, read_answer

from oracles import strict_object, token68

NOW = 1_900_000_000.0
SECRET = "s3cret-0123456789-abcdef"
ASKED = Asked(scopes=("a", "b"))
CREDENTIALS = client_auth.post("orders", SECRET)


def check_failure(error: TokenAnswerError) -> None:
    assert error.code is None or error.code in REGISTERED
    assert 0 <= error.retry_after <= 3_600
    said = error.description
    assert said is None or (0 < len(said) <= 200 and said.isascii() and said.isprintable() and SECRET not in said)


def one(data: bytes) -> None:
    status, content_type, retry_after, challenge, body = [*data.split(b"\n", 4), b"", b"", b"", b""][:5]
    text = status.decode("latin-1")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) == 3 else 200
    headers = {"retry-after": retry_after.decode("latin-1")}
    if content_type:
        headers["content-type"] = content_type.decode("latin-1")
    for scheme in ("Bearer", "DPoP"):
        assert all(isinstance(error, str) for error in challenges.errors([challenge.decode("latin-1")], scheme))
    try:
        issued = read_answer(Response(number, headers, body), [(ASKED, CREDENTIALS)], NOW)
    except TokenAnswerError as error:
        check_failure(error)
        return
    answer = strict_object(body, None)
    assert number == 200
    assert answer is not None
    assert "error" not in answer
    assert issued.access_token == answer["access_token"]
    assert token68(issued.access_token)
    assert str(answer.get("token_type", "bearer")).lower() == "bearer"
    assert issued.lifetime is None or 1 <= issued.lifetime <= 86_400
    assert issued.scopes is None or all(" " not in name for name in issued.scopes)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
