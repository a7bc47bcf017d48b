"""Model versions in MLflow: published from snapshots, judged, promoted, rolled back, served.

Importing this package does not import MLflow, which takes seconds: it is when first asked.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitoring.registry.actions import pin, promote, roll_back, roll_back_on_alarm, unpin
    from monitoring.registry.client import Registry, open_registry
    from monitoring.registry.gate import GateVerdict, alarm_target, judge
    from monitoring.registry.process import Register
    from monitoring.registry.settings import GateSettings, RegistrySettings
    from monitoring.registry.versions import (
        CHAMPION,
        PREVIOUS,
        SERVE,
        NoVersionError,
        RegistryError,
        Version,
        rollback_target,
    )

__all__ = [
    "CHAMPION",
    "PREVIOUS",
    "SERVE",
    "GateSettings",
    "GateVerdict",
    "NoVersionError",
    "Register",
    "Registry",
    "RegistryError",
    "RegistrySettings",
    "Version",
    "alarm_target",
    "judge",
    "open_registry",
    "pin",
    "promote",
    "roll_back",
    "roll_back_on_alarm",
    "rollback_target",
    "unpin",
]

_NAMES = {
    "actions": ("pin", "promote", "roll_back", "roll_back_on_alarm", "unpin"),
    "client": ("Registry", "open_registry"),
    "gate": ("GateVerdict", "alarm_target", "judge"),
    "process": ("Register",),
    "settings": ("GateSettings", "RegistrySettings"),
}


def __getattr__(name: str) -> Any:
    """Import a part when it is first asked for: who reads the settings needs no learner."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = next((module for module, names in _NAMES.items() if name in names), "versions")
    return getattr(import_module(f"{__name__}.{module}"), name)
