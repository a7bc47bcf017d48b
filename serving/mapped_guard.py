"""Surviving a mapped file that is truncated under its readers.

Reading a page that the file no longer has is a SIGBUS, which ends the process: no check before
the reading helps, for the file may shrink in between. So the signal is caught: the guarded region
becomes zeros in memory of its own, the reading goes on, and the region is marked as broken, for
its reader to look at when it is done. The handler runs at the very instruction that read the
mapping, where no lock but the interpreter's can be held, which it shares; so it may be Python.

Linux on 64 bits; elsewhere there is no guard, and :func:`guard` says so.
"""

from __future__ import annotations

import ctypes
import mmap
import signal
import sys
import weakref
from typing import Any

import numpy as np

__all__ = ["Region", "guard"]

_FAULT_ADDRESS = 16
"""Where in siginfo_t the address stands, on 64-bit Linux."""
_SA_SIGINFO, _SA_NODEFER = 4, 0x40000000
_READ_WRITE, _PRIVATE_FIXED_ANONYMOUS = 3, 0x02 | 0x10 | 0x20
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _Action(ctypes.Structure):
    """``struct sigaction`` of glibc and musl."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class Region:
    """Guarded memory.

    Attributes
    ----------
    broken
        The file under it was truncated; it reads as zeros now.
    guarded
        Whether there is a guard on this platform.
    """

    def __init__(self, start: int, size: int, guarded: bool) -> None:
        self.start, self.size, self.guarded = start, size, guarded
        self.broken = False


_regions: dict[int, Region] = {}
_installed: list[Any] = []  # kept for ever: C holds them


def guard(map: mmap.mmap) -> Region:
    """Guard a mapping, as long as it is held."""
    view = np.frombuffer(map, np.uint8)
    region = Region(view.ctypes.data, len(view), sys.platform == "linux" and sys.maxsize > 2**32)
    if region.guarded:
        if not _installed:
            _install()
        _regions[id(region)] = region
        weakref.finalize(map, _regions.pop, id(region), None)
    return region


def _install() -> None:
    libc: Any = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    former = _Action()

    def handle(number: int, info: int, _context: int) -> None:
        address = ctypes.c_size_t.from_address(info + _FAULT_ADDRESS).value
        for region in tuple(_regions.values()):
            if region.start <= address < region.start + region.size:
                region.broken = True
                libc.mmap(region.start, region.size, _READ_WRITE, _PRIVATE_FIXED_ANONYMOUS, -1, 0)
                return
        libc.sigaction(number, ctypes.byref(former), None)  # not ours: it comes again, as ever

    handler = _Handler(handle)
    action = _Action(ctypes.cast(handler, ctypes.c_void_p).value, flags=_SA_SIGINFO | _SA_NODEFER)
    if libc.sigaction(signal.SIGBUS, ctypes.byref(action), ctypes.byref(former)):
        return
    _installed.extend((handler, libc, former))
