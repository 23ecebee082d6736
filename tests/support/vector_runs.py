"""The vectors of tests/vectors, and a validator of their settings behind every adapter of HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from observed_validators import WAYS
from request_table import columns
from vectors import generate

from tokenguard import Issuer, TokenValidator

FILES = {path.name: json.loads(path.read_text()) for path in sorted(Path(generate.__file__).parent.glob("*.json"))}


def build(settings):
    issuers, served = [], {}
    for one in settings["issuers"]:
        given = dict(one)
        if "served" in given:
            served[given["jwks_uri"]] = given.pop("served")
        issuers.append(Issuer(given.pop("url"), **given))

    def answer(request):
        # A vector that makes anything else be fetched (jku, x5u) fails here.
        body = served[str(request.url)].encode("utf-8", "surrogatepass")
        return httpx.Response(200, content=body, headers={"content-type": "application/json"})

    return TokenValidator(
        issuers,
        settings["audience"],
        leeway=settings["leeway"],
        max_token_bytes=settings["max_token_bytes"],
        clock=lambda: settings["now"],
        transport=httpx.MockTransport(answer),
    )


class Protected:
    """One validator behind every adapter of HTTP, with the scope that its settings ask for."""

    def __init__(self, settings, way="unwatched"):
        self.validator = WAYS[way](build(settings))
        self.scope = settings["scope"].split()
        self.columns = {
            name: column
            for name, column in columns(
                self.validator, self.scope, settings={"show_reason": True, "realm": "vectors"}
            ).items()
            if column.is_http
        }


def fields_of(vector):
    if "token" in vector:
        return [("Authorization", f"Bearer {vector['token']}")]
    return [*(("Authorization", value) for value in vector["authorization"]), *map(tuple, vector.get("fields", ()))]
