"""The Django app: `"tokenguard.django"` in `INSTALLED_APPS` brings the system checks. It has no models.

Owns: the app's name. Must not know: what is checked.
"""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class TokenGuardConfig(AppConfig):
    """The app, by the label `tokenguard`."""

    name = "tokenguard.django"
    label = "tokenguard"

    def ready(self) -> None:
        """Register the checks."""
        import_module("tokenguard.django.checks")
