"""What can go wrong with a registry."""

from __future__ import annotations

from features.errors import ClicktideError

__all__ = ["NoVersionError", "RegistryError"]


class RegistryError(ClicktideError):
    """The registry does not answer, or refuses: try again later."""


class NoVersionError(RegistryError):
    """There is no such version, or not the file it should have."""
