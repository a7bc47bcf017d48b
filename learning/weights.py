"""The state of a learner: its two weight tables, what else it learns, and the kernels on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import SnapshotError
from features.hashed import Hashed
from features.jit import read_only
from features.spec import HashSpec, LearnerSpec, Rates
from learning import single, stack
from learning.buckets import Events, slots_for
from learning.eviction import MARKS, Eviction
from learning.stack_state import INPUTS, RANK, State, work_for

__all__ = ["SingleWeights", "StackWeights", "Weights", "weights_for"]

F64 = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
_LINE = 64
_TABLES = ("fields", "crosses")
_LINEAR, _FACTORS = ("linear", "linear_squares"), ("factors", "factors_squares")


class Weights(ABC):
    """What a learner has learned.

    Parameters
    ----------
    sizes
        Bits of the two tables.
    crosses
        int32 (crosses, 3); empty: there is no cross table.
    arrays
        The state: ``fields`` and ``crosses`` (buckets, numbers in each) and the rest.

    Attributes
    ----------
    arrays
        As given, and the marks of eviction; learned in place.
    index
        The crosses.
    eviction
        What empties buckets; ``None``: nothing does.
    """

    kernels: Any
    read_only = False
    """Whether the state is somebody else's, such as the trainer's live file."""
    unserved: tuple[str, ...] = MARKS
    """Arrays that learning needs and predicting does not."""

    def __init__(self, sizes: HashSpec, crosses: NDArray[np.int32], arrays: Arrays) -> None:
        self.index, self.arrays = crosses, arrays
        self.shifts = np.array([64 - sizes.bits, 64 - sizes.cross_bits], np.uint64)
        self._sizes = np.array([arrays[name].shape[1] for name in _TABLES], np.int64)
        self._state: Any = None
        self.eviction = Eviction(sizes.evict_after) if sizes.evict_after else None
        if self.eviction is not None:
            self.arrays |= self.eviction.marks(len(self.fields), len(self.crosses))

    @abstractmethod
    def _made_state(self) -> Any:
        """The arrays as the kernels take them."""

    @property
    def fields(self) -> NDArray[Any]:
        """The table of the fields' values: (buckets, numbers in each)."""
        return self.arrays["fields"]

    @property
    def crosses(self) -> NDArray[Any]:
        """The table of the crosses: (buckets, numbers in each); empty if there are none."""
        return self.arrays["crosses"]

    @property
    def rest(self) -> Arrays:
        """All of the state that a prediction is made of but the tables."""
        left_out = (*_TABLES, *self.unserved)
        return {name: array for name, array in self.arrays.items() if name not in left_out}

    @property
    @abstractmethod
    def mixture(self) -> dict[str, float]:
        """Whose logits are mixed into the prediction, and with what weight."""

    @property
    def calibration(self) -> tuple[float, float]:
        """Scale and shift of the mixed logit."""
        return 1.0, 0.0

    def learn(self, hashed: Hashed, labels: F64, importance: F64 | None = None) -> F64:
        """Predict, then learn, every event in turn.

        Parameters
        ----------
        hashed
            Token hashes of n events.
        labels
            float64 (n,): 0, 1, or :data:`learning.stack.LATE`: a click after all.
        importance
            float64 (n,) of importance weights; ``None``: 1 for all.

        Returns
        -------
        ndarray of float64, shape (n,)
            Logits as predicted before each event was learned.
        """
        if self.read_only:
            raise SnapshotError("live weights are read only. Fix: learn where the trainer runs")
        out = np.empty(hashed.rows)
        weight = np.empty(0) if importance is None else importance
        if len(labels) != hashed.rows or len(weight) not in (0, hashed.rows):
            raise ValueError(f"{len(labels)} labels, {len(weight)} weights: {hashed.rows} events")
        if self.eviction is None:
            self._learn(hashed, labels, weight, out)
            return out
        for rows in self.eviction.stretches(self, hashed.rows):
            part = hashed.part(rows.start, rows.stop)
            self._learn(part, labels[rows], weight[rows], out[rows])
            self.eviction.note(self, part)
        return out

    def _learn(self, hashed: Hashed, labels: F64, importance: F64, out: F64) -> None:
        if hashed.rows:
            taught = read_only(labels), read_only(importance)
            self.kernels.learn_events(*self.arguments(hashed), *taught, out)

    def predict(self, hashed: Hashed) -> F64:
        """Logits of n events, float64 (n,); nothing is learned."""
        out = np.empty(hashed.rows)
        if hashed.rows:
            self.kernels.predict_events(*self.arguments(hashed), out, np.empty(0))
        return out

    def predict_with_deviation(self, hashed: Hashed) -> tuple[F64, F64]:
        """Logits of n events, and their standard deviations (:mod:`learning.uncertainty`)."""
        out, deviations = np.empty(hashed.rows), np.empty(hashed.rows)
        if hashed.rows:
            self.kernels.predict_events(*self.arguments(hashed), out, deviations)
        return out, deviations

    def point_at(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep the state in other arrays from now on, such as those of a mapped file.

        Parameters
        ----------
        arrays
            Of the names, shapes and types of :attr:`arrays`.
        """
        self.arrays = {name: arrays[name] for name in self.arrays}
        self._state = None  # it holds the former arrays

    def arguments(self, hashed: Hashed) -> tuple[Any, ...]:
        """State, events and room for one of them, as all kernels take them."""
        if self._state is None:
            self._state = self._made_state()
        events = Events(
            hashed.tokens, hashed.starts, hashed.rows, hashed.fields, self.index, self.shifts,
            self._sizes,
        )  # fmt: skip
        return self._state, events, slots_for(events)


class SingleWeights(Weights):
    """Of one FTRL-Proximal: z and n of each bucket and of the bias, in float64."""

    kernels = single

    def __init__(
        self, sizes: HashSpec, crosses: NDArray[np.int32], fields: Rates, crossed: Rates
    ) -> None:
        arrays = _tables(sizes, crosses, np.float64, 2, 2) | {"bias": np.zeros(2)}
        super().__init__(sizes, crosses, arrays)
        self._rates = [
            np.array([1 / r.alpha, r.beta / r.alpha + r.l2, r.l1]) for r in (fields, crossed)
        ]

    @property
    def mixture(self) -> dict[str, float]:
        """One regression."""
        return {"regression": 1.0}

    def _made_state(self) -> single.State:
        fields, crosses = (self.arrays[name].reshape(-1) for name in _TABLES)
        return single.State(fields, crosses, self.arrays["bias"], *self._rates)


class StackWeights(Weights):
    """Of the learner ``stack``.

    Parameters
    ----------
    fields
        How many there are.
    seed
        Of the net's first factors.
    inputs
        By how many the net's first factors are scaled; ``None``: as many as there are.
    """

    kernels = stack
    unserved = (*MARKS, "linear_squares", "factors_squares", "top_squares")

    def __init__(
        self, sizes: HashSpec, crosses: NDArray[np.int32], fields: int, seed: int = 0,
        inputs: int | None = None,
    ) -> None:  # fmt: skip
        self.seed, self.inputs = seed, inputs or INPUTS * fields
        self.admission = np.float32(sizes.admit_after)
        tables = _tables(sizes, crosses, np.float32, 8, 4)
        super().__init__(sizes, crosses, tables | _rest(len(crosses), fields, seed, self.inputs))

    def grow(self, fields: int, crosses: NDArray[np.int32]) -> None:
        """Have room for so many fields and these crosses, of which those known come first."""
        self.index = crosses
        room = len(self.arrays["field_means"]), self.arrays["cross_means"].shape[1]
        if fields <= room[0] and len(crosses) <= room[1]:
            return
        wide, many = (max(n, 1 << (m - 1).bit_length()) for n, m in zip(
            room, (fields, max(len(crosses), 1)), strict=True
        ))  # fmt: skip
        larger = _rest(many, wide, self.seed, self.inputs)
        for name, array in larger.items():
            held = self.arrays[name]
            array[tuple(map(slice, held.shape))] = held
        self.arrays, self._state = {**self.arrays, **larger}, None

    @property
    def mixture(self) -> dict[str, float]:
        """The slow and the fast regression on fields, the one on crosses too, and the net."""
        names = ("fields_slow", "fields_fast", "crosses", "net")
        return dict(zip(names, self.arrays["mixture"].tolist(), strict=True))

    @property
    def calibration(self) -> tuple[float, float]:
        """As learned so far."""
        scale, shift = self.arrays["calibration"][:2].tolist()
        return scale, shift

    def arguments(self, hashed: Hashed) -> tuple[Any, ...]:
        """As for all weights, and room for what is known of an event."""
        state, events, slots = super().arguments(hashed)
        return state, events, slots, work_for(slots, len(self.arrays["field_means"]))

    def _made_state(self) -> State:
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys((*_TABLES, *_LINEAR), (-1,))
        shapes |= dict.fromkeys(_FACTORS, (-1, 2 * RANK))
        flat = {name: self.arrays[name].reshape(shape) for name, shape in shapes.items()}
        learned = {k: v for k, v in self.arrays.items() if k not in MARKS}
        return State(**{**learned, **flat}, admission=self.admission)


def weights_for(
    sizes: HashSpec, learner: LearnerSpec, crosses: NDArray[np.int32], fields: int
) -> Weights:
    """New weights of the learner that a spec asks for."""
    if learner.kind == "single":
        return SingleWeights(sizes, crosses, learner.fields, learner.crosses)
    return StackWeights(sizes, crosses, fields, sizes.seed)


def _tables(
    sizes: HashSpec, crosses: NDArray[np.int32], dtype: type, field: int, cross: int
) -> Arrays:
    rows = 2**sizes.cross_bits if len(crosses) else 0
    return {
        "fields": _table(2**sizes.bits, field, dtype),
        "crosses": _table(rows, cross, dtype),
    }


def _table(rows: int, width: int, dtype: type) -> NDArray[Any]:
    """Zeros (rows, width), from the start of a cache line on: no bucket lies in two."""
    room = np.zeros(rows * width * np.dtype(dtype).itemsize + _LINE, np.uint8)
    first = -room.ctypes.data % _LINE
    flat: NDArray[Any] = room[first : first + len(room) - _LINE].view(dtype)
    return flat.reshape(rows, width)


_LEAST_SQUARE = 1e-2


def _rest(crosses: int, fields: int, seed: int, inputs: int) -> Arrays:
    means = np.zeros((fields, 6), np.float32)
    means[:, 4] = -0.5  # cnt of no views
    shape = (INPUTS, fields)
    net = {
        "linear": np.zeros(shape, np.float32),
        "factors": first_factors(fields, seed, inputs),
        "top": np.zeros(1 + RANK, np.float32),
    }
    squares = {f"{name}_squares": np.full_like(net[name], _LEAST_SQUARE) for name in net}
    return {
        "bias": np.zeros((3, 2)),
        "mixture": np.full(4, 0.25),
        "calibration": np.array([1.0, 0.0, 0.0, 0.0, 0.0]),
        "totals": np.array([1.0, 0.1, 0.0, 0.0, 0.0]),
        "field_means": means,
        "cross_means": np.zeros((2, crosses), np.float32),
        **net,
        **squares,
    }


def first_factors(fields: int, seed: int, inputs: int) -> NDArray[np.float32]:
    """Random u and v: float32 (5, fields, 16), of variance 1 / inputs, by hashing alone.

    A factor depends on the seed, its kind, field and column: it is the same beside more fields,
    and no library's random generator is part of what a model is.
    """
    kind, field, column = np.meshgrid(
        *(np.arange(n, dtype=np.uint64) for n in (INPUTS, fields, 2 * RANK)),
        indexing="ij",
    )
    at = (field * np.uint64(INPUTS) + kind) * np.uint64(2 * RANK) + column
    total = np.zeros(at.shape)
    for draw in range(12):  # a sum of twelve uniform ones is normal enough, and exact
        word = _mixed(np.uint64(seed) ^ _mixed(at * np.uint64(12) + np.uint64(draw)))
        total += (word >> np.uint64(40)).astype(np.float64) / 2**24
    scale = 1.0 / np.sqrt(inputs)
    return np.asarray((total - 6.0) * scale, np.float32)


def _mixed(word: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """splitmix64 (Steele et al., OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        word = word + np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(word ^ (word >> np.uint64(31)))
