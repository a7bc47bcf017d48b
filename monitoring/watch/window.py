"""One window of event time: its sums and those of its slices; and what is kept once it closes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitoring.watch import figures as k
from monitoring.watch.categorical import MISSING, Categorical, HashTable, hashes_of
from monitoring.watch.drift import Drift
from monitoring.watch.figures import SliceFigures, SliceTable, figures_of, rankings
from monitoring.watch.scored_batch import Scored
from monitoring.watch.slices import OTHER

__all__ = ["COARSE", "ClosedWindow", "Delays", "Terms", "Window", "closed_window"]

F64 = NDArray[np.float64]

BINS, SLICE_BINS, DELAY_BINS = 4096, 64, 160
_FIRST_SLOTS, _MOST_AT_FIRST = 256, 4096


@dataclass(frozen=True, slots=True)
class Terms:
    """What each row of a batch adds; worked out once for all windows and fields."""

    terms: F64
    at: NDArray[np.int32]

    @classmethod
    def of(cls, scored: Scored) -> Terms:
        """Work it out."""
        made = cls(np.empty((len(scored), k.SUMS)), np.empty((len(scored), 2), np.int32))
        k.row_terms(
            scored.probability, scored.label, scored.bid, scored.correction, BINS,
            made.terms, made.at,
        )  # fmt: skip
        return made


class Window:
    """Sums of the impressions of one stretch of event time.

    Parameters
    ----------
    start_ms, end_ms
        The stretch, its end not included.
    fields
        Names of the slice fields.
    room
        Values of a field that get a place of their own; the others share :data:`OTHER`.
    expected
        By field, values that have a place from the start: the most frequent ones so far.

    Examples
    --------
    >>> rows = Scored.of([0, 1, 0], [0.1, 0.4, 0.2], slices={"site": ["a", "a", "b"]})
    >>> window = Window(0, 1000, ["site"], room=10)
    >>> window.add(rows, Terms.of(rows), np.arange(3))
    >>> window.figures().count, window.table("site").figures("a").clicks
    (3, 1)
    """

    def __init__(
        self,
        start_ms: int,
        end_ms: int,
        fields: Sequence[str],
        room: int,
        expected: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.start_ms, self.end_ms, self.room = start_ms, end_ms, room
        self.sums = np.zeros(k.SUMS)
        self.histogram = np.zeros((BINS, 3))
        self.delays = np.zeros(DELAY_BINS, np.int64)
        self.values: dict[str, dict[str, int]] = {}
        self._tables: dict[str, tuple[int, HashTable]] = {}
        self.changes = 0
        self._slots = 0
        places = min(len(fields) * (room + 2), _MOST_AT_FIRST)  # costs nothing until it is used
        first = max(_FIRST_SLOTS, places)
        self.slot_sums, self.slot_counts, self.slot_mass = _slots(first)
        for field in fields:
            self.values[field] = {}
            for value in (OTHER, MISSING, *(expected or {}).get(field, ())):
                self._place(field, value)

    # ---- adding

    def add(self, scored: Scored, terms: Terms, rows: NDArray[np.int64]) -> None:
        """Add some rows of a batch, all of this window."""
        self.changes += 1
        k.add_overall(rows, terms.terms, terms.at, self.sums, self.histogram)
        delay = scored.click_delay_ms[rows]
        known = np.log2(np.maximum(delay[~np.isnan(delay)], 1.0)) * 4.0
        self.delays += np.bincount(known.astype(np.int64), minlength=DELAY_BINS)[:DELAY_BINS]
        for field in self.values:
            coded = scored.slices[field]
            slots = self._slots_of(field, coded, rows)
            k.add_field(
                rows, coded.codes, slots, terms.terms, terms.at,
                self.slot_sums, self.slot_counts, self.slot_mass,
            )  # fmt: skip

    def _slots_of(
        self, field: str, coded: Categorical, rows: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Slot of each distinct value; new values take places while there are any."""
        places, table = self.values[field], self._table(field)
        found = table.find(coded.hashes)
        slots = np.where(found >= 0, found, places[OTHER]).astype(np.int64)
        if not self.is_full(field) and (found < 0).any():
            codes, whole = coded.codes, len(rows) == len(coded)
            counts = coded.counts() if whole else np.bincount(codes[rows], minlength=len(slots))
            used = np.flatnonzero((found < 0) & (counts > 0))
            order = np.argsort(-counts[used], kind="stable")  # the most frequent get a place
            new = used[order][: self.room + 2 - len(places)].tolist()
            for code in new:
                slots[code] = self._place(field, coded.words[code].as_py())
            table.add(coded.hashes[new], slots[new].astype(np.int32))
            self._tables[field] = len(places), table
        return slots

    def _table(self, field: str) -> HashTable:
        """Slots of the values of a field by their hashes."""
        places = self.values[field]
        known, table = self._tables.get(field, (0, HashTable()))
        if known != len(places):
            table = HashTable()
            slots = np.fromiter(places.values(), np.int32, len(places))
            table.add(hashes_of(pa.array(list(places), pa.string())), slots)
            self._tables[field] = len(places), table
        return table

    def _place(self, field: str, value: str) -> int:
        places = self.values[field]
        if value not in places:
            if (used := self._slots) == len(self.slot_sums):
                sums, counts, mass = _slots(2 * used)
                sums[:used], counts[:used] = self.slot_sums, self.slot_counts
                mass[:used] = self.slot_mass
                self.slot_sums, self.slot_counts, self.slot_mass = sums, counts, mass
            places[value] = self._slots
            self._slots += 1
        return places[value]

    def merge(self, other: Window) -> None:
        """Add what another window of the same fields holds; the stretch grows to hold both.

        Values that find no place are added to :data:`OTHER`.
        """
        self.changes += 1
        self.start_ms = min(self.start_ms, other.start_ms)
        self.end_ms = max(self.end_ms, other.end_ms)
        self.sums += other.sums
        self.histogram += other.histogram
        self.delays += other.delays
        for field, theirs in other.values.items():
            ours = self.values[field]
            for value, slot in sorted(theirs.items(), key=lambda it: -other.slot_sums[it[1], 0]):
                fits = value in ours or not self.is_full(field)
                mine = self._place(field, value if fits else OTHER)
                self.slot_sums[mine] += other.slot_sums[slot]
                self.slot_counts[mine] += other.slot_counts[slot]
                self.slot_mass[mine] += other.slot_mass[slot]

    # ---- reading

    def figures(self) -> SliceFigures:
        """Figures of the whole window."""
        return figures_of(self.sums, rankings(self.histogram[None])[0])

    def counts(self, field: str) -> dict[str, float]:
        """Impressions by value of a field."""
        count = self.slot_sums[:, k.COUNT]
        return {value: float(count[slot]) for value, slot in self.values[field].items()}

    def is_full(self, field: str) -> bool:
        """Whether a value of a field may be without a place."""
        return len(self.values[field]) >= self.room + 2

    def table(self, field: str) -> SliceTable:
        """All values of a field that were seen, the most frequent first."""
        places = self.values[field]
        slots = np.fromiter(places.values(), np.int64)
        count = self.slot_sums[slots, k.COUNT]
        order = np.argsort(-count, kind="stable")
        order = order[count[order] > 0]
        names, slots = list(places), slots[order]
        histograms = np.concatenate(
            [self.slot_counts[slots], self.slot_mass[slots][..., None]], axis=2
        )
        return SliceTable(
            values=[names[i] for i in order.tolist()],
            sums=self.slot_sums[slots].tolist(),
            rankings=rankings(histograms),
        )

    # ---- keeping

    def state(self) -> dict[str, Any]:
        """JSON values and arrays."""
        return {
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
            "room": self.room,
            "values": {field: list(places.items()) for field, places in self.values.items()},
            "sums": self.sums,
            "histogram": self.histogram,
            "delays": self.delays,
            "slot_sums": self.slot_sums[: self._slots],
            "slot_counts": self.slot_counts[: self._slots],
            "slot_mass": self.slot_mass[: self._slots],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Window:
        """Take up what :meth:`state` gave."""
        window = cls(state["start_ms"], state["end_ms"], (), state["room"])
        window.sums, window.histogram = state["sums"].copy(), state["histogram"].copy()
        window.delays = state["delays"].copy()
        window.values = {
            field: {value: int(slot) for value, slot in places}
            for field, places in state["values"].items()
        }
        window._slots = len(state["slot_sums"])
        window.slot_sums = state["slot_sums"].copy()
        window.slot_counts = state["slot_counts"].copy()
        window.slot_mass = state["slot_mass"].copy()
        return window


def _slots(size: int) -> tuple[F64, NDArray[np.int32], F64]:
    shape = (size, SLICE_BINS)
    return np.zeros((size, k.SUMS)), np.zeros((*shape, 2), np.int32), np.zeros(shape)


_PER_OCTAVE = 4
COARSE = 256
"""Bins of the prediction's histogram that is kept, over the logit from -16 to 16."""


class Delays(msgspec.Struct, frozen=True):
    """Quantiles in seconds, each within 9 % (bins of a quarter octave); ``None`` without a click.

    Parameters
    ----------
    count
        Clicks whose delay is known.
    """

    count: int = 0
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


class ClosedWindow(msgspec.Struct, frozen=True):
    """All that is kept of a window.

    Parameters
    ----------
    start_ms, end_ms
        Its stretch of event time.
    final
        False for a window that is still open: late clicks may change it.
    overall
        Its figures.
    sums
        Its sums, see :data:`monitoring.watch.figures.SUMS`: those of several windows can be
        added and read by :func:`monitoring.watch.figures.figures_of`.
    reliability
        Clicks, others and sum of p of :data:`COARSE` bins; only bins that hold something, by
        number.
    click_delay_s
        Quantiles of the time from impression to click.
    slices
        By field, see :class:`monitoring.watch.figures.SliceTable`.
    drift
        By field, against the reference; ``(prediction)`` is that of the prediction.
    """

    start_ms: int
    end_ms: int
    final: bool
    overall: SliceFigures
    sums: list[float]
    reliability: dict[int, tuple[float, float, float]]
    click_delay_s: Delays
    slices: dict[str, SliceTable]
    drift: dict[str, Drift] = {}


def closed_window(
    window: Window, drift: dict[str, Drift] | None = None, *, final: bool = True
) -> ClosedWindow:
    """Read all that is kept of a window."""
    coarse = window.histogram.reshape(COARSE, -1, 3).sum(axis=1)
    used = np.flatnonzero(coarse[:, :2].sum(axis=1)).tolist()
    return ClosedWindow(
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        final=final,
        overall=window.figures(),
        sums=window.sums.tolist(),
        reliability={bin: tuple(coarse[bin].tolist()) for bin in used},
        click_delay_s=_delays(window.delays),
        slices={field: window.table(field) for field in window.values},
        drift=drift or {},
    )


def _delays(histogram: NDArray[np.int64]) -> Delays:
    """Read the quantiles of delays; bin b holds those of 2**(b/4) ms and above."""
    count = int(histogram.sum())
    if not count:
        return Delays()
    bins = np.searchsorted(np.cumsum(histogram), [count * share for share in (0.5, 0.9, 0.99)])
    return Delays(count, *(float(2.0 ** ((at + 0.5) / _PER_OCTAVE) / 1000) for at in bins.tolist()))
