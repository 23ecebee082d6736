"""Decisions over time, as generators that yield the effects they need. No httpx, no asyncio, no framework."""
