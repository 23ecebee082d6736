"""A plugin of pytest: how hypothesis runs every property test. How long an example takes proves nothing here.

Each run has the same examples, so that a change passes or fails by what it is. `--hypothesis-profile random` draws
others, as `make fuzz` does.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("tokenguard", settings.get_profile("random"), derandomize=True, database=None)
settings.load_profile("tokenguard")
