"""What predictions are worth for values that nobody has seen: frozen, on the simulated market."""

from __future__ import annotations

import numpy as np

from benchmarks.measures import Bench
from benchmarks.report import Section, Table
from features.hashed import Hashed
from features.spec_file import load_spec
from learning.click_learner import ClickLearner, probabilities
from market.simulation import open_simulation
from streaming.prepare import Preparer

__all__ = ["unseen"]

_AD = ("ad", "campaign", "advertiser", "ad_category")
_REST = ("user", "segment", "site", "placement", "interests", "hour_of_day", "day_of_week")
_NEW: tuple[tuple[str, ...], ...] = (
    (), _AD[:1], _AD[:2], _AD[:3], _AD, ("user", "ad", "campaign", "site"), (*_AD, *_REST),
)  # fmt: skip


def unseen(bench: Bench) -> Section:
    """Predicted over true probability where some fields have values never seen."""
    learned, markets = bench.sizes.market, 2 * bench.sizes.markets
    found = []
    for seed in range(markets):
        bench.say(f"values never seen: market {seed}")
        found.append(_ratios(seed, learned))
    rows, by_set = [], np.transpose(found)
    for new, ratios in zip(_NEW, by_set, strict=True):
        name = "all but the device" if len(new) > len(_AD) + 1 else ", ".join(new) or "nothing"
        span = f"{min(ratios):.2f}–{max(ratios):.2f}"
        against = np.mean(ratios / by_set[0])
        rows.append((name, f"{np.mean(ratios):.3f}", span, f"{against:.3f}"))
    return Section(
        "Values never seen",
        f"The default learner, frozen after {learned:,} events of `sim:stationary`; the next "
        f"{learned * 3 // 10:,} with new values in some fields. Mean and span of {markets} seeds; "
        "a frozen model is off by the hour, with or without new values, so the last column "
        "compares with nothing new.",
        [Table(("new", "predicted / true", "span", "÷ nothing new"), rows)],
    )


def _ratios(seed: int, learned: int) -> list[float]:
    spec = load_spec("sim")
    model, rows, later, true = ClickLearner(spec), 0, list[Hashed](), 0.0
    assert model.vectoriser is not None
    prepare = Preparer(model.vectoriser, spec.source)
    names = [field.name for field in model.vectoriser.fields]
    source = f"sim:stationary?events={learned * 13 // 10}&seed={seed}"
    for batch in open_simulation(source, prepare.columns):
        ready = prepare(batch)
        assert ready.truth is not None
        cut = min(max(learned - rows, 0), ready.hashed.rows)
        model.learn_hashed(ready.hashed.part(0, cut), ready.labels[:cut])
        later.append(ready.hashed.part(cut, ready.hashed.rows))
        true += float(ready.truth[cut:].sum())
        rows += ready.hashed.rows
    numbers = ([names.index(name) for name in new] for new in _NEW)
    return [sum(_predicted(model, part, new) for part in later) / true for new in numbers]


def _predicted(model: ClickLearner, hashed: Hashed, new: list[int]) -> float:
    """Sum of the predictions of events with new values in some fields."""
    tokens, rng = hashed.tokens.copy(), np.random.default_rng(0)
    field = np.repeat(np.tile(np.arange(hashed.fields), hashed.rows), np.diff(hashed.starts))
    chosen = np.isin(field, new)
    tokens[chosen] = rng.integers(0, 2**64, int(chosen.sum()), dtype=np.uint64)
    events = Hashed(tokens, hashed.starts, hashed.rows, hashed.fields)
    return float(probabilities(model.predict_hashed(events)).sum())
