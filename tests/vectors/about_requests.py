"""Section 1.4: credentials in requests. These have no token of their own: the whole request is the vector."""

from __future__ import annotations

from vectors.collecting import Book
from vectors.minting import token

RFC = "RFC 6750 section 2; RFC 9110 section 11"


def book() -> Book:
    book = Book("requests")
    good = token()

    def add(
        name: str,
        threat: int,
        mechanism: str,
        reason: str | None,
        *authorization: str,
        query: str = "",
        fields: list[list[str]] | None = None,
    ) -> None:
        book.add(
            f"request-{name}",
            threat,
            mechanism,
            RFC,
            reason,
            authorization=authorization,
            query=query,
            fields=fields or (),
        )

    for name, scheme in {
        "exact": "Bearer ",
        "lower": "bearer ",
        "upper": "BEARER ",
        "mixed": "bEaReR ",
        "spaces": "Bearer    ",
        "many-spaces": "Bearer" + " " * 200,
    }.items():
        add(f"scheme-{name}", 71, f"the scheme {name}", None, scheme + good)
    for name, (before, after) in {
        "space-after": ("", " "),
        "tab-after": ("", "\t"),
        "spaces-and-tabs-after": ("", "  \t "),
        "space-before": (" ", ""),
        "tab-before": ("\t", ""),
        "around": (" \t", "\t "),
    }.items():
        mechanism = f"white space is no part of the value (section 5.5): {name}"
        add(f"white-{name}", 71, mechanism, None, f"{before}Bearer {good}{after}")
        add(f"white-lower-{name}", 71, mechanism, None, f"{before}bearer  {good}{after}")
    add("white-alone", 71, "nothing but white space", "missing", " \t ")
    add("white-scheme-alone", 71, "the scheme and white space", "malformed", "Bearer \t ")
    add("white-no-break", 71, "a no-break space is none of section 5.5", "malformed", f"Bearer {good}\xa0")
    add("white-two-fields", 70, "an empty field beside a good one", "multiple", " ", f"Bearer {good}")
    add(
        "white-query", 72, "white space and a token in the query", "multiple", f"Bearer {good} ", query="access_token=x"
    )
    add("none", 71, "no credentials", "missing")
    add(
        "token-in-query-alone",
        72,
        "a token in the query and no field: not a method here",
        "missing",
        query=f"access_token={good}",
    )
    for name, value in {
        "empty": "",
        "basic": "Basic dXNlcjpwYXNz",
        "digest": 'Digest username="x"',
        "dpop": f"DPoP {good}",
        "bearerish": f"Bearerish {good}",
        "token": f"Token {good}",
        "bare-token": good,
        "negotiate": "Negotiate YII=",
    }.items():
        add(f"other-{name}", 71, f"another scheme: {name}", "missing", value)
    bad = {
        "scheme-only": "Bearer",
        "tab": f"Bearer\t{good}",
        "nbsp": f"Bearer\xa0{good}",
        "inner-space": f"Bearer {good[:20]} {good[20:]}",
        "comma": f"Bearer {good},",
        "quoted": f'Bearer "{good}"',
        "parameter": f"Bearer token={good}",
        "colon": f"Bearer: {good}",
        "equals-only": "Bearer =",
        "equals-inside": f"Bearer a=b.{good}",
        "angle": f"Bearer <{good}>",
        "percent": "Bearer a%2Eb",
        "latin-1": f"Bearer {good}é",
        "semicolon": f"Bearer {good};x",
    }
    for name, value in bad.items():
        add(f"malformed-{name}", 71, f"our scheme and no token68: {name}", "malformed", value)
    add("two-fields", 70, "the field twice, both good", "multiple", f"Bearer {good}", f"Bearer {good}")
    add("two-fields-bad-first", 70, "the field twice, the first one bad", "multiple", "Bearer x", f"Bearer {good}")
    add("two-fields-basic", 70, "Basic and Bearer in two fields", "multiple", "Basic dXNlcjpwYXNz", f"Bearer {good}")
    add(
        "joined",
        70,
        "two Bearer credentials joined by a comma, as WSGI servers do",
        "multiple",
        f"Bearer {good}, Bearer {good}",
    )
    add(
        "joined-basic-first",
        70,
        "Basic, then Bearer, joined by a comma",
        "multiple",
        f"Basic dXNlcjpwYXNz, Bearer {good}",
    )
    add(
        "joined-basic-second",
        70,
        "Bearer, then Basic, joined by a comma",
        "multiple",
        f"Bearer {good}, Basic dXNlcjpwYXNz",
    )
    for name, query in {
        "same": f"access_token={good}",
        "other": "access_token=x",
        "empty": "access_token=",
        "bare": "access_token",
        "encoded": "%61ccess_token=x",
        "encoded-all": "access%5Ftoken=x",
        "second": "a=b&access_token=x",
    }.items():
        add(
            f"query-{name}",
            72,
            f"a credential in the field and access_token in the query: {name}",
            "multiple",
            f"Bearer {good}",
            query=query,
        )
    add(
        "query-basic",
        72,
        "Basic in the field and access_token in the query",
        "multiple",
        "Basic dXNlcjpwYXNz",
        query="access_token=x",
    )
    for name, query in {
        "upper": "ACCESS_TOKEN=x",
        "suffix": "access_token2=x",
        "prefix": "my_access_token=x",
        "value": "q=access_token",
        "space": "access+token=x",
        "semicolon": "a=b;access_token=x",
        "array": "access_token[]=x",
        "broken-percent": "%zz=1&%",
    }.items():
        add(f"query-fine-{name}", 72, f"the query holds no access_token: {name}", None, f"Bearer {good}", query=query)
    for name, field in {
        "x-authorization": ["X-Authorization", f"Bearer {good}"],
        "cookie": ["Cookie", f"access_token={good}; Authorization=Bearer {good}"],
        "x-access-token": ["X-Access-Token", good],
        "proxy": ["Proxy-Authorization", f"Bearer {good}"],
        "forwarded": ["X-Forwarded-Access-Token", good],
        "user": ["X-Remote-User", "admin"],
        "override": ["X-HTTP-Method-Override", "OPTIONS"],
        "original-url": ["X-Original-URL", "/health"],
        "agent": ["User-Agent", "kube-probe/1.30"],
    }.items():
        add(f"elsewhere-{name}", 79, f"{field[0]} decides nothing", "missing", fields=[field])
        add(
            f"beside-{name}",
            79,
            f"{field[0]} beside a good credential changes nothing",
            None,
            f"Bearer {good}",
            fields=[field],
        )
    return book
