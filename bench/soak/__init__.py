"""A soak: real servers behind tokenguard while everything that they ask fails in turn.

`tokens` says which outcome of which request is right, `world` has the issuers, Redis and the clock, `servers` what is
attacked, `clients` the requests, `schedule` the troubles, `report` the result. `issuer` and `app` are processes of
their own.
"""
