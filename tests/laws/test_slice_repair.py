"""Laws of repairs: no cut of the stream changes one; one that is served is no new error."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.watch.categorical import Categorical
from monitoring.watch.repair.state_machine import SliceRepair
from monitoring.watch.repair.table import MOST, Repair, RepairTable, repaired, with_repairs
from monitoring.watch.scored_batch import Scored
from monitoring.watch.settings import RepairSettings
from monitoring.watch.slices import SliceField

ROWS, STEP = 60_000, 512
FIELDS = [SliceField(name, column=name) for name in ("site", "ad", "user")]
SETTINGS = RepairSettings(warmup_clicks=200, values_per_field=50)


def stream(rows=ROWS, seed=1, factor=0.4, start=20_000, stop=40_000):
    """Predictions that are right, but for one site's between two rows."""
    rng = np.random.default_rng(seed)
    columns = {"site": rng.integers(6, size=rows), "ad": rng.integers(40, size=rows)}
    columns["user"] = rng.integers(5_000, size=rows)
    p = rng.uniform(0.02, 0.08, rows)
    number = np.arange(rows)
    off = (columns["site"] == 3) & (number >= start) & (number < stop)
    y = rng.random(rows) < np.where(off, p * factor, p)
    slices = {
        name: Categorical(of.astype(np.int32), pa.array([f"{name}{i}" for i in range(5_000)]))
        for name, of in columns.items()
    }
    late = rng.random(rows) < 0.001
    known = Scored.of(y, p, time_ms=number * 1000)
    return replace(known, slices=slices, correction=late)


STREAM = stream()


def run(scored, cuts, restart=False):
    repair, tables = SliceRepair(FIELDS, SETTINGS), []
    for start, stop in pairwise([0, *sorted(set(cuts)), len(scored)]):
        repair.update(scored.take(slice(start, stop)))
        if restart:
            state, repair = repair.state(), SliceRepair(FIELDS, SETTINGS)
            repair.restore(state)
        tables.append(repair.table)
    return repair, tables


WHOLE, _ = run(STREAM, [])


@settings(max_examples=8)
@given(st.lists(st.integers(1, ROWS - 1), max_size=10), st.booleans())
def test_batches_and_restarts_change_nothing(cuts, restart):
    repair, _ = run(STREAM, cuts, restart)
    assert repair.state()["tables"] == WHOLE.state()["tables"]
    assert repair.figures() == WHOLE.figures()
    used = min(len(repair.state()["slices"]), len(WHOLE.state()["slices"]))
    assert np.array_equal(repair.state()["slices"][:used], WHOLE.state()["slices"][:used])


def test_the_slice_that_is_off_is_repaired_while_it_is_and_no_longer():
    _, tables = run(STREAM, range(STEP, ROWS, STEP))
    names = [{one.name: one.factor for one in table.repairs} for table in tables]
    assert not any("site3" in of for of in names[: 20_000 // STEP])
    assert all(0.25 <= of["site3"] < 0.7 for of in names[26_000 // STEP : 40_000 // STEP])
    assert not any("site3" in of for of in names[56_000 // STEP :])
    assert not any("user" in name for of in names for name in of)  # it has too many values


def test_served_with_repairs_it_learns_what_it_learns_from_the_model_itself():
    """Else it would take its own repair for the model's learning, and let go of it."""
    repair, version = SliceRepair(FIELDS, SETTINGS), "live-0a-1"
    table, served = repair.table, []
    for start in range(0, ROWS, STEP):
        part = STREAM.take(slice(start, start + STEP))
        p = repaired(part.probability, SliceRepair.row_factors(table, part.slices))
        served.append((p, part.probability))
        named = Categorical.constant(with_repairs(version, table), len(part))
        table = repair.table
        repair.update(replace(part, probability=p, version=named))
    assert [r.name for r in repair.table.repairs] == [r.name for r in WHOLE.table.repairs]
    assert [t.id for t in repair._tables.values()] == [t.id for t in WHOLE._tables.values()]
    assert repair.unknown == 0
    p, model = (np.concatenate(column) for column in zip(*served, strict=True))
    off = (STREAM.slices["site"].codes == 3) & (np.arange(ROWS) >= 26_000)
    off &= np.arange(ROWS) < 40_000
    clicks = STREAM.label[off].sum()
    assert model[off].sum() / clicks > 2.0
    assert 0.85 < p[off].sum() / clicks < 1.2


def test_where_nothing_is_off_repairs_cost_next_to_nothing():
    calm, lost, rows = 0.0, 0.0, 0
    for seed in range(4):
        scored = stream(seed=seed + 10, factor=1.0)
        repair = SliceRepair(FIELDS, SETTINGS)
        for start in range(0, ROWS, STEP):
            part = scored.take(slice(start, start + STEP))
            p = repaired(part.probability, SliceRepair.row_factors(repair.table, part.slices))
            calm += loss(part.probability, part.label)
            lost += loss(p, part.label) - loss(part.probability, part.label)
            rows += len(part)
            repair.update(part)
    assert lost / calm < 2e-3


def loss(p, y):
    return float(-np.where(y > 0, np.log(p), np.log1p(-p)).sum())


def test_predictions_of_tables_that_are_not_known_are_left_out():
    other = RepairTable(0, (Repair("site", "site1", "site", 0.5, 0),))
    named = Categorical.constant(with_repairs("7", other), 1000)
    part = STREAM.take(slice(0, 1000))
    repair = SliceRepair(FIELDS, SETTINGS)
    repair.update(replace(part, version=named))
    assert repair.unknown == (~part.correction).sum()
    assert repair.figures() == []


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_together_they_are_bounded(factor):
    repairs = tuple(Repair(name, "x", name, factor, 0) for name in ("site", "ad", "user"))
    table = RepairTable(0, repairs)
    factors, _ = table.factors([{"site": "x", "ad": "x", "user": "x"}, {"site": "x"}])
    assert factors.tolist() == [MOST if factor > 1 else 1 / MOST, factor]
    slices = {name: Categorical.of(pa.array(["x", "x" if name == "site" else "y"])) for name in
              ("site", "ad", "user")}  # fmt: skip
    assert SliceRepair.row_factors(table, slices).tolist() == factors.tolist()
    p = repaired(np.array([0.0, 1e-300, 0.5, 1.0]), factor)
    assert ((p >= 0) & (p <= 1)).all()
