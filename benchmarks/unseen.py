"""What predictions are worth for values that nobody has seen: frozen, on the simulated market."""

from __future__ import annotations

import numpy as np

from benchmarks.measures import Bench
from benchmarks.report import Section, Table
from features.hashed import Hashed
from features.spec_file import load_spec
from learning.click_learner import ClickLearner, probabilities
from market.simulation import open_simulation
from streaming.prepare import Preparer, Ready

__all__ = ["unseen"]

_AD = ("ad", "campaign", "advertiser", "ad_category")
_REST = ("user", "segment", "site", "placement", "interests", "hour_of_day", "day_of_week")
_NEW: tuple[tuple[str, ...], ...] = (
    (), _AD[:1], _AD[:2], _AD[:3], _AD, ("user", "ad", "campaign", "site"), (*_AD, *_REST),
)  # fmt: skip


_FREEZES = 10


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
        f"The default learner on `sim:stationary`, frozen {_FREEZES} times from {learned:,} events "
        f"on: the next {_stretch(learned):,}, about two hours, are predicted with new values in "
        "some fields, then learned as they are. Sums of a market's predictions over those of its "
        f"true probabilities; mean and span of {markets} seeds. One freeze is off by a fifth, by "
        "the hour, with or without new values; the last column compares with nothing new.",
        [Table(("new", "predicted / true", "span", "÷ nothing new"), rows)],
    )


def _stretch(learned: int) -> int:
    """Events between two freezes."""
    return learned * 3 // 10


def _ratios(seed: int, learned: int) -> list[float]:
    """Predicted over true probability of each set of new values, over all freezes of a market."""
    spec = load_spec("sim")
    model, due = ClickLearner(spec), learned
    assert model.vectoriser is not None
    prepare = Preparer(model.vectoriser, spec.source)
    names = [field.name for field in model.vectoriser.fields]
    sets = [[names.index(name) for name in new] for new in _NEW]
    predicted, true, waiting = np.zeros(len(sets)), 0.0, list[Ready]()
    source = f"sim:stationary?events={learned + _FREEZES * _stretch(learned)}&seed={seed}"
    for batch in open_simulation(source, prepare.columns):
        waiting.append(prepare(batch))
        if sum(ready.hashed.rows for ready in waiting) < due:
            continue
        if due < learned:  # these come after a freeze: nothing of them is learned yet
            for ready in waiting:
                predicted += [_predicted(model, ready.hashed, new) for new in sets]
                true += float(np.sum(ready.truth))
        for ready in waiting:
            model.learn_hashed(ready.hashed, ready.labels)
        waiting, due = [], _stretch(learned)
    return list(predicted / true)


def _predicted(model: ClickLearner, hashed: Hashed, new: list[int]) -> float:
    """Sum of the predictions of events with new values in some fields."""
    tokens, rng = hashed.tokens.copy(), np.random.default_rng(0)
    field = np.repeat(np.tile(np.arange(hashed.fields), hashed.rows), np.diff(hashed.starts))
    chosen = np.isin(field, new)
    tokens[chosen] = rng.integers(0, 2**64, int(chosen.sum()), dtype=np.uint64)
    events = Hashed(tokens, hashed.starts, hashed.rows, hashed.fields)
    return float(probabilities(model.predict_hashed(events)).sum())
