"""What moved when a shift began, found by comparing as many rows before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitoring.detect import state as kernels
from monitoring.detect.naming import Named, View

__all__ = ["cause_of"]

I64 = NDArray[np.int64]
_PLAIN = 0.03  # Jensen-Shannon divergence, in nats beyond chance, of a mix that plainly moved


def cause_of(found: Named, view: View) -> tuple[str, str]:
    """What moved, in words, and the field whose mix of values moved most, if one plainly did."""
    if found.kind == kernels.MISSING:
        field = view.values.fields[found.which]
        return f"{field} is missing", field
    if found.kind == kernels.DELAY:
        return "clicks come with another delay", ""
    before = _before(found, view)
    if len(before) < 100 or len(found.rows) < 100:
        return "clicks do not come as predicted", ""
    moved, field = _most_moved(found, view, before)
    if moved > _PLAIN:
        return f"the mix of {field} changed", field
    return _rates(found, view, before), ""


def _before(found: Named, view: View) -> I64:
    """As many rows of the slice before the shift as since."""
    first = found.rows[0]
    rows = np.arange(first)
    if found.kind != kernels.OVERALL:
        field = view.values.named(found.which)[0]
        rows = rows[view.rows.slots[:first, field] == found.which]
    return rows[-len(found.rows) :]


def _most_moved(found: Named, view: View, before: I64) -> tuple[float, str]:
    best, name = 0.0, ""
    for f, field in enumerate(view.values.fields):
        if _goes_with_time(view.rows.slots[:, f]):
            continue
        now, then = view.rows.slots[found.rows, f], view.rows.slots[before, f]
        size = int(max(now.max(), then.max())) + 1
        a, b = np.bincount(now, minlength=size), np.bincount(then, minlength=size)
        used = (a + b) > 0
        moved = _divergence(a[used], b[used])
        if moved > best:
            best, name = moved, field
    return best, name


def _goes_with_time(slots: NDArray[np.int32]) -> bool:
    """Whether a field says little but when it is, as the hour does: it comes in long runs."""
    return float(np.mean(slots[1:] != slots[:-1])) < 0.02


def _divergence(a: I64, b: I64) -> float:
    """Jensen-Shannon divergence of two counts, less what chance gives."""
    p, q = a / a.sum(), b / b.sum()
    m = (p + q) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / m), 0.0) + np.where(q > 0, q * np.log(q / m), 0.0)
    chance = (len(a) - 1) / 8.0 * (1.0 / a.sum() + 1.0 / b.sum())
    return float(terms.sum() / 2.0 - chance)


def _rates(found: Named, view: View, before: I64) -> str:
    """Whether clicks or predictions moved, from their means before and since."""
    p, y = view.rows.p, view.rows.y
    clicks = _change(y[found.rows].mean(), y[before].mean())
    predictions = _change(p[found.rows].mean(), p[before].mean())
    return f"the click rate went {clicks}, the mean prediction {predictions}"


def _change(now: float, then: float) -> str:
    return f"from {then:.4f} to {now:.4f}"
