"""The simulated stream: the same events however it is read, in bounded memory, in time order."""

import hashlib
import subprocess
import sys
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import SourceError
from market import COLUMNS, SCENARIOS, MarketSettings, simulate
from market.columns import json_lines, numbered
from market.impressions import BLOCK

SMALL = MarketSettings(users=500, campaigns=20, sites=30)
EVENTS = 2 * BLOCK + 1000


def table(scenario="stationary", **arguments):
    arguments = {"seed": 1, "events": EVENTS, "market": SMALL} | arguments
    return pa.Table.from_batches(list(simulate(scenario, **arguments)))


@pytest.fixture(scope="module")
def whole():
    return {name: table(name) for name in SCENARIOS}


@pytest.mark.parametrize("scenario", SCENARIOS)
@given(
    start=st.integers(0, EVENTS - 1),
    batch_rows=st.integers(500, 3 * BLOCK),
)
@settings(max_examples=5)
def test_events_are_the_same_whatever_the_batch_size_and_the_start(
    whole, scenario, start, batch_rows
):
    batches = list(
        simulate(scenario, seed=1, events=EVENTS, market=SMALL, start=start, batch_rows=batch_rows)
    )
    assert all(0 < batch.num_rows <= batch_rows for batch in batches)
    assert pa.Table.from_batches(batches).equals(whole[scenario].slice(start))


def test_a_longer_run_begins_with_the_shorter_one(whole):
    assert table("churn", events=BLOCK + 7).equals(whole["churn"].slice(0, BLOCK + 7))


def test_another_process_draws_the_same_events():
    digest = (
        "import hashlib, pyarrow as pa\n"
        "from market import simulate, MarketSettings as M\n"
        "from market.columns import json_lines\n"
        "m = M(users=500, campaigns=20, sites=30)\n"
        "b = next(simulate('gradual', seed=1, events=2000, market=m))\n"
        "print(hashlib.sha256(json_lines(b)).hexdigest())\n"
    )
    theirs = subprocess.run(
        [sys.executable, "-c", digest], capture_output=True, text=True, check=True
    ).stdout.strip()
    ours = json_lines(next(simulate("gradual", seed=1, events=2000, market=SMALL)))
    assert hashlib.sha256(ours).hexdigest() == theirs


def test_another_seed_is_another_market_and_another_stream(whole):
    other = table(seed=2)
    for column in ("timestamp", "user", "campaign", "p_true"):
        assert not other[column].equals(whole["stationary"][column])


def test_columns_have_their_types_and_come_in_the_order_asked():
    batch = next(simulate("stationary", events=10, columns=("p_true", "ad", "interests")))
    assert batch.schema.names == ["p_true", "ad", "interests"]
    full = next(simulate("stationary", events=10)).schema
    assert full.names == list(COLUMNS)
    kinds = {name: full.field(name).type for name in COLUMNS}
    integers = {name for name, kind in kinds.items() if kind == pa.int64()}
    assert integers == {"timestamp", "click", "click_delay_ms"}
    assert kinds["p_true"] == pa.float64()
    assert kinds["interests"] == pa.list_(pa.string())
    texts = [k for n, k in kinds.items() if n not in integers | {"p_true", "interests"}]
    assert all(
        kind == pa.string() or (pa.types.is_dictionary(kind) and kind.value_type == pa.string())
        for kind in texts
    )


def test_impression_ids_are_unique_and_number_the_events(whole):
    ids = whole["stationary"]["impression_id"].to_pylist()
    assert ids == [f"imp-{number:012}" for number in range(EVENTS)]


@given(st.lists(st.integers(0, 10**12 - 1), min_size=1))
def test_numbered_names_are_the_numbers_with_leading_zeros(numbers):
    names = numbered("x-", np.array(numbers, dtype=np.int64), 3)
    names.validate(full=True)
    assert names.to_pylist() == [f"x-{number:012}" for number in numbers]


def test_a_users_segment_and_interests_never_change(whole):
    users = whole["stationary"].select(["user", "segment", "interests"]).to_pylist()
    seen = {}
    for row in users[:5000]:
        mine = (row["segment"], *row["interests"])
        assert seen.setdefault(row["user"], mine) == mine
    sizes = {len(mine) - 1 for mine in seen.values()}
    assert sizes == {0, 1, 2, 3, 4}
    assert all(len(set(mine[1:])) == len(mine) - 1 for mine in seen.values())


def test_times_never_fall_and_traffic_peaks_in_the_evening():
    events = 345_600  # one day
    stamps = np.concatenate(
        [
            batch["timestamp"].to_numpy()
            for batch in simulate("stationary", events=events, columns=["timestamp"])
        ]
    )
    assert (np.diff(stamps) >= 0).all()
    day = 86_400_000
    assert stamps[0] % day < 60_000
    assert abs((stamps[-1] - stamps[0]) - day) < 0.01 * day
    per_hour = np.bincount(stamps[stamps < stamps[0] + day] // 3_600_000 % 24, minlength=24)
    assert per_hour[20] / per_hour[8] == pytest.approx(1.6 / 0.4, rel=0.1)


def test_click_delays_are_positive_bounded_and_heavy_tailed():
    bound = 3_600_000
    short = MarketSettings(users=500, max_click_delay_ms=bound)
    rows = table(events=300_000, market=short, columns=["click", "click_delay_ms"])
    click, delay = rows["click"].to_numpy(), rows["click_delay_ms"].to_numpy()
    assert (delay[click == 0] == 0).all()
    clicked = delay[click == 1]
    assert clicked.min() >= 1
    assert clicked.max() == bound
    assert 2_000 < np.median(clicked) < 20_000
    assert 0.05 < (clicked > 300_000).mean() < 0.25


def test_memory_does_not_grow_with_the_events():
    def peak(events):
        arrow = 0
        tracemalloc.start()
        for batch in simulate("churn", events=events, market=SMALL):
            arrow = max(arrow, pa.total_allocated_bytes())
            del batch
        numpy_peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return numpy_peak + arrow

    peak(BLOCK)
    assert peak(30 * BLOCK) < 1.1 * peak(3 * BLOCK)


def test_an_unknown_scenario_or_column_is_refused_at_once_and_names_the_known():
    with pytest.raises(SourceError, match="stationary, gradual, abrupt, churn"):
        simulate("weekend")
    with pytest.raises(SourceError, match=r"'colour'.*impression_id"):
        simulate("stationary", columns=["click", "colour"])
