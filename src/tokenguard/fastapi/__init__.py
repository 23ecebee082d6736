"""FastAPI: the validator as a security dependency.

Owns: the public names. Must not know: how they work: `bearer` is the dependency, `rejections` what it raises,
`handlers` answers errors, `metadata` serves the resource's own.
"""

from __future__ import annotations

from tokenguard._adapters.openapi import REFUSALS
from tokenguard.fastapi.bearer import BearerToken
from tokenguard.fastapi.handlers import add_error_handler
from tokenguard.fastapi.metadata import add_resource_metadata
from tokenguard.fastapi.rejections import RefusedRequest

__all__ = ["REFUSALS", "BearerToken", "RefusedRequest", "add_error_handler", "add_resource_metadata"]
