"""The order in which a token is checked, and what is remembered of it."""
