"""A plugin of pytest: how hypothesis runs every property test. How long an example takes proves nothing here."""

from hypothesis import HealthCheck, settings

settings.register_profile("tokenguard", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tokenguard")
