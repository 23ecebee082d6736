"""The introspection answer: status and content type on the first line, the body behind it.

Holds: an answer or a failure to answer, nothing else; `active` only for JSON true; the claim checks of an active answer
refuse or pass, nothing else.
"""

import sys

import atheris

with atheris.instrument_imports(include=["tokenguard"]):
    from tokenguard import RejectedError
    from tokenguard._flow.messages import Response
    from tokenguard._oauth import introspection_messages, scope
    from tokenguard._oauth.claims import Expected
    from tokenguard._validation.revocation import check_answer
    from tokenguard.token import freeze

from oracles import strict_object

NOW = 1_900_000_000.0
ISSUER = "https://auth.example.com/"
EXPECTED = Expected(required=(), audiences=frozenset({"https://api.example.com"}), leeway=30)


def check_code(code: str | None) -> None:
    assert code is None or (code.isascii() and code.isprintable() and len(code) <= 64)


def one(data: bytes) -> None:
    head, _, body = data.partition(b"\n")
    status, _, content_type = head.decode("latin-1").partition(" ")
    number = int(status) if status.isascii() and status.isdecimal() and len(status) == 3 else 200
    headers = {"content-type": content_type} if content_type else {}
    try:
        answer = introspection_messages.read_answer(Response(number, headers, body))
    except introspection_messages.AnswerError as error:
        check_code(error.code)
        return
    assert number == 200
    assert answer == strict_object(body, None)
    assert "error" not in answer
    assert 0 <= introspection_messages.time_to_expiry(answer, NOW, 30) <= 30
    try:
        introspection_messages.check_active(answer)
        assert answer["active"] is True
        check_answer(answer, ISSUER, EXPECTED, NOW)
    except RejectedError:
        return
    assert "cnf" not in answer
    frozen = freeze(answer)
    assert set(frozen) == set(answer)
    assert all(isinstance(name, str) for name in scope.granted(frozen))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
