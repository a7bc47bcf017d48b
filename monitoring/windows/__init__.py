"""Event-time windows: figures of each window, over all and by slice, in bounded memory."""

from monitoring.windows.closed import ClosedWindow, Delays
from monitoring.windows.figures import SliceFigures, figures_of
from monitoring.windows.settings import WindowSettings
from monitoring.windows.table import SliceTable
from monitoring.windows.window import Window
from monitoring.windows.windows import Windows

__all__ = [
    "ClosedWindow",
    "Delays",
    "SliceFigures",
    "SliceTable",
    "Window",
    "WindowSettings",
    "Windows",
    "figures_of",
]
