"""Model versions in MLflow: published from snapshots, judged, promoted, rolled back, served.

Importing this package does not import MLflow, which takes seconds: it is when first asked.
"""

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
