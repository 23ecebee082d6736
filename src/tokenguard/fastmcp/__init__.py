"""FastMCP: an auth provider whose MCP endpoint answers as every other adapter does.

Owns: the public name. Must not know: how it works: `provider` has the settings, `entrance` puts our guard in front of
what FastMCP guards, `callers` gives FastMCP the caller.
"""

from __future__ import annotations

from tokenguard.fastmcp.provider import TokenGuardProvider

__all__ = ["TokenGuardProvider"]
