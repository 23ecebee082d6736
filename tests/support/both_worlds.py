"""The verdict of `validate` and of `validate_async`, which must agree."""

from __future__ import annotations

import asyncio
from typing import Any

from tokenguard import TokenGuardError, TokenValidator


def verdict(validator: TokenValidator, token: str, **options: Any) -> Any:
    """A token or an error. The validator's connections of the loop are closed with it."""

    async def in_a_loop() -> Any:
        async with validator:
            return await validator.validate_async(token, **options)

    found = []
    for call in (lambda: validator.validate(token, **options), lambda: asyncio.run(in_a_loop())):
        try:
            found.append(call())
        except TokenGuardError as error:
            found.append(error)
    one, other = found
    assert type(one) is type(other)
    assert getattr(one, "reason", None) is getattr(other, "reason", None)
    return one
