"""Counters: how they are declared, keyed, and turned into fields."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from small_spec import spec_of

from features.counters.counting import Counters
from features.counters.keys import CounterKeys
from features.counters.names import feature_names
from features.counters.panes import weight, weights_at
from features.counters.rates import CounterFields, rate_codes
from features.counters.table import NO_TIME, CounterTable
from features.errors import SpecError
from features.spec import CounterSpec, FieldSpec, Spec
from features.spec_file import load_spec, parse_spec, spec_identity
from features.vectoriser import Vectoriser

HEAD = 'name = "x"\n[source]\nlabel = "click"\ntimestamp = "t"\n'
FIELDS = '[[fields]]\nnames = ["user", "ad"]\n'
HOUR = 3_600_000

COUNTED = spec_of(
    "user",
    "ad",
    FieldSpec(names=("n",), transform="log2"),
    time="t",
    pairs=True,
    bits=8,
    counters=(CounterSpec(keys=("ad", ("user", "ad")), half_lives_h=(1, 24)),),
)


def test_a_spec_declares_counters():
    text = HEAD + FIELDS + '[[counters]]\nkeys = ["ad", ["user", "ad"]]\nhalf_lives_h = [1, 24]\n'
    [counters] = parse_spec(text).counters
    assert counters.keys == ("ad", ("user", "ad"))
    assert "user+ad_ctr_24h" in set(feature_names(counters))


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ('keys = []\nhalf_lives_h = [1]', 8, "nothing is counted"),
        ('keys = ["click"]\nhalf_lives_h = [1]', 8, "is the answer"),
        ('keys = [["ad", "ad"]]\nhalf_lives_h = [1]', 8, "paired with itself"),
        ('keys = [["ad", "user", "x"]]\nhalf_lives_h = [1]', 8, "no key of a counter"),
        ('keys = ["ad", "ad"]\nhalf_lives_h = [1]', 8, "counted twice"),
        ('keys = ["ad"]\nhalf_lives_h = []', 9, "no half-life"),
        ('keys = ["ad"]\nhalf_lives_h = [-1]', 9, "not a half-life"),
        ('keys = ["ad"]\nhalf_lives_h = [1, 1.0]', 9, "given twice"),
        ('keys = ["ad"]\nhalf_lives_h = [1]\nprior_views = 0', 10, "not a number of prior views"),
        ('keys = ["ad"]\nhalf_lives_h = [1]\nprior_rate = 1.5', 10, "not a click rate"),
        ('keys = [["ad", 3]]\nhalf_lives_h = [1]', 8, "is not text"),
    ],
)  # fmt: skip
def test_a_wrong_counter_is_named_by_its_line(table, line, message):
    with pytest.raises(SpecError, match=message) as error:
        parse_spec(f"{HEAD}{FIELDS}[[counters]]\n{table}\n")
    assert error.value.line == line
    assert error.value.fix


def test_counters_need_a_time():
    text = HEAD.replace('timestamp = "t"\n', "") + FIELDS
    with pytest.raises(SpecError, match="fade by event time"):
        parse_spec(text + '[[counters]]\nkeys = ["ad"]\nhalf_lives_h = [1]\n')


def test_a_spec_without_counters_keeps_its_identity():
    assert spec_identity(load_spec("criteo_dac80k")) == (
        "1ce9ad7a81c35246d3d273dc79371fad9010e6a4870990275bd7c67bdaa18b04"
    )


def test_weights_are_those_of_the_definition():
    rng = np.random.default_rng(1)
    times = rng.integers(-(10**12), 10**13, 2000)
    halves = np.array([1000, 7 * HOUR + 1, 24 * HOUR])
    wanted = [[weight(t, h) for h in halves.tolist()] for t in times.tolist()]
    assert weights_at(times[:, None], halves).tolist() == wanted


def test_keys_of_a_dict_and_of_columns_are_the_same_and_golden():
    keys = CounterKeys(COUNTED, COUNTED.counters[0])
    events = [{"user": "u", "ad": 7}, {"user": None, "ad": "é"}, {"ad": ""}, {"ad": ["7"]}]
    columns = pa.RecordBatch.from_pydict({"user": ["u", None, ""], "ad": ["7", "é", None]})
    rows = [keys.of_event(event).tolist() for event in events]
    assert keys.of_batch(columns).tolist() == rows[:3]
    assert rows[1][1] == 0 and rows[2][:2] == [0, 0] == rows[3][:2]
    assert rows[0] == [3030761990588092749, 17283229886047894024, 10374764963645818606]


def test_a_missing_key_reads_as_missing_and_counts_nothing():
    table = CounterTable([HOUR], 2)
    keys = np.array([[0, 5], [5, 0]], np.uint64)
    seen = table.advance(keys, np.array([10, NO_TIME]), np.array([True, True]))
    assert np.isnan(seen[0, 0]).all() and seen[0, 1].tolist() == [[0.0, 0.0]]
    assert np.isnan(seen[1]).all()
    assert table.dump()["keys"].tolist() == [5]


def test_click_rates_lean_on_the_rate_of_all():
    odds_steps, codes = np.array([0.5, 1.0, 2.0]), np.empty((3, 1, 1), np.int64)
    seen = np.array([[0.0, 0.0], [90.0, 0.0], [10.0, 9.0]]).reshape(3, 1, 1, 2)
    rate_codes(seen, 1, 10.0, 0.1, odds_steps, 7, codes)  # with a prior of 10 views at 0.1
    assert (codes // 7).reshape(-1).tolist() == [2, 0, 3]  # 0.1, 0.01 and 0.5: odds 1, 1/11 and 9


def test_tokens_tell_rates_and_evidence_apart():
    fields = CounterFields(CounterSpec(keys=("ad",), half_lives_h=(1,), prior_rate=0.1), 0)
    values = np.array([[0.0, 0.0], [500.0, 50.0], [500.0, 200.0], [50.0, 5.0], [np.nan, np.nan]])
    assert len(np.unique(fields.tokens(values.reshape(-1, 1, 1, 2)))) == 5


def test_a_dict_a_frame_and_a_batch_of_served_counters_give_the_same_bits():
    names = Counters(COUNTED).value_names
    rng = np.random.default_rng(0)
    rows = [
        {"user": "u", "ad": "a", "n": 3}
        | {f"counter:{name}": float(rng.exponential(9)) for name in names}
        for _ in range(6)
    ]
    rows[2][f"counter:{names[0]}"] = None
    vectoriser = Vectoriser(COUNTED)
    one = np.concatenate([vectoriser.hash_event(row).tokens for row in rows])
    batch, _ = vectoriser.hash_batch(pa.RecordBatch.from_pylist(rows))
    frame = vectoriser.hash_frame(pd.DataFrame(rows))
    assert one.tolist() == batch.tokens.tolist() == frame.tokens.tolist()
    assert batch.fields == 3 + 4


def test_an_event_without_counters_has_missing_ones():
    vectoriser = Vectoriser(COUNTED)
    row = {"user": "u", "ad": "a", "n": 3}
    batch, _ = vectoriser.hash_batch(pa.RecordBatch.from_pylist([row]))
    assert vectoriser.hash_event(row).tokens.tolist() == batch.tokens.tolist()
    assert batch.tokens[3:].tolist() == vectoriser.counters.missing.tolist()


def test_counters_leave_the_tokens_of_lists_in_place():
    tags = FieldSpec(names=("tags",), transform="categories")
    spec = Spec(name="y", source=COUNTED.source, fields=(tags,), counters=COUNTED.counters)
    rows = [{"tags": ["a", "b"]}, {"tags": []}]
    vectoriser = Vectoriser(spec)
    hashed, _ = vectoriser.hash_batch(pa.RecordBatch.from_pylist(rows))
    one = vectoriser.hash_event(rows[0])
    assert one.tokens.tolist() == hashed.tokens[: len(one.tokens)].tolist()
    assert one.starts.tolist() == hashed.starts[: len(one.starts)].tolist()


def test_a_full_table_drops_the_dead_and_only_then_doubles():
    table = CounterTable([1000], 1)
    keys = np.arange(1, 20_001, dtype=np.uint64).reshape(-1, 1)
    table.advance(keys, np.arange(20_000) * 100, np.zeros(20_000, np.bool_))
    dump = table.dump()
    assert len(dump["keys"]) < 1024
    assert dump["last"][dump["keys"] == 20_000].tolist() == [1_999_900]
    table.advance(keys, np.full(20_000, 3_000_000), np.zeros(20_000, np.bool_))
    dump = table.dump()
    assert len(dump["keys"]) >= 20_000
    assert (dump["last"][np.isin(dump["keys"], keys)] == 3_000_000).all()
