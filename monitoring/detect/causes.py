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
    rows = np.concatenate([before, found.rows])
    for f, field in enumerate(view.values.fields):
        if _goes_with_time(view.rows.slots[:, f]) or not view.values.is_whole(f):
            continue
        moved = _moved(np.unique(view.rows.slots[rows, f], return_inverse=True)[1], len(before))
        if moved > best:
            best, name = moved, field
    return best, name


def _moved(values: I64, before: int) -> float:
    """Divergence of the mix before and since, less what chance gives.

    Chance is the largest divergence of fifteen halves that have rows of before and since alike. Of
    many values that come once or twice, as users do, it is nearly all there is.

    Examples
    --------
    >>> users = np.arange(600) * 7919 % 550
    >>> _moved(users, 300) < 0.03 < _moved(np.repeat([0, 1, 1, 2], 150), 300)
    True
    """
    number = np.arange(len(values))
    halves = [np.bitwise_count(number & mask) % 2 == 0 for mask in range(1, 16)]
    chance = max(_divergence(values, half) for half in halves)
    return _divergence(values, number < before) - chance


def _goes_with_time(slots: NDArray[np.int32]) -> bool:
    """Whether a field says little but when it is, as the hour does: it comes in long runs."""
    return float(np.mean(slots[1:] != slots[:-1])) < 0.02


def _divergence(values: I64, part: NDArray[np.bool_]) -> float:
    """Jensen-Shannon divergence of the mix in a part of the rows and in the rest, in nats."""
    size = int(values.max()) + 1
    p, q = (np.bincount(values[of], minlength=size) / of.sum() for of in (part, ~part))
    m = (p + q) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / m), 0.0) + np.where(q > 0, q * np.log(q / m), 0.0)
    return float(terms.sum() / 2.0)


def _rates(found: Named, view: View, before: I64) -> str:
    """Whether clicks or predictions moved, from their means before and since."""
    p, y = view.rows.p, view.rows.y
    clicks = _change(y[found.rows].mean(), y[before].mean())
    predictions = _change(p[found.rows].mean(), p[before].mean())
    return f"the click rate went {clicks}, the mean prediction {predictions}"


def _change(now: float, then: float) -> str:
    return f"from {then:.4f} to {now:.4f}"
