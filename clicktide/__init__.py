"""The front door: the command line and the wiring."""

from typing import Any

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:
    """Look up the version of the installed package when it is asked for."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("clicktide")
