"""Counters: views and clicks of a field's value, fading by half-lives, exact in any order.

A view or a click at time t adds the integer :func:`weight` to the :func:`pane` that t falls in:
the whole number of half-lives since 1970. Integer sums do not depend on their order, so Redis and
this process agree to the bit, whatever the batches and their order; the fading is applied when a
counter is read (forward decay: Cormode et al. 2009, "Forward decay", section III).
"""

from features.counters.panes import PANES, UNIT, decayed, pane, weight

__all__ = ["PANES", "UNIT", "decayed", "pane", "weight"]
