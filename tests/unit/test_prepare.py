"""The preparer: which rows are good, which are rejects and why, and what is learned on the way."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_spec import spec_of

from features.spec import FieldSpec, SourceSpec, Spec
from features.vectoriser import Vectoriser
from streaming.prepare import Preparer
from streaming.sources import Batch, Position, Reject

SOURCE = SourceSpec(label="click", weight="w", timestamp="at", timestamp_format="s", truth="p")
SPEC = spec_of(
    "ad",
    FieldSpec(names=("price",), transform="quantile", buckets=2, learn_from=4),
    FieldSpec(names=("hour",), transform="hour_of_day", timestamp_format="s"),
    name="t",
    source=SOURCE,
)
GOOD = {"click": "1", "w": "2", "at": "5", "p": "0.25", "ad": "a", "price": "1.5", "hour": "7"}
PARSED_BEFORE = Reject("row_too_short", "1 column", "log.csv", 1, b"x")


def batch_of(rows):
    columns = {name: [row[name] for row in rows] for name in GOOD}
    schema = pa.schema([(name, pa.string()) for name in GOOD])
    return Batch(
        columns=pa.RecordBatch.from_pydict(columns, schema=schema),
        file="log.csv",
        origin=lambda i: (i + 2, b"row %d" % i),
        positions=lambda i: Position("log.csv", i + 1),
        position=Position("log.csv", len(rows)),
        rejects=[PARSED_BEFORE],
    )


def preparer(source=SOURCE, **options):
    return Preparer(Vectoriser(SPEC), source, **options)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("click", "2", "bad_label"),
        ("w", "-1", "bad_weight"),
        ("at", "noon", "bad_time"),
        ("price", "cheap", "bad_number"),
        ("hour", "noon", "bad_time"),
    ],
)
def test_a_bad_row_is_a_reject_with_its_place_and_the_others_are_numbered(column, value, reason):
    ready = preparer()(batch_of([GOOD, GOOD | {column: value}, GOOD]))
    before, reject = ready.rejects
    assert before is PARSED_BEFORE
    assert (reject.reason, reject.file, reject.line) == (reason, "log.csv", 3)
    assert reject.raw == b"row 1"
    assert repr(column) in reject.detail and repr(value) in reject.detail
    assert ready.rows.tolist() == [0, 2]
    assert ready.hashed.rows == len(ready.labels) == 2


def test_a_row_wrong_in_many_ways_is_one_reject():
    wrong = dict.fromkeys(GOOD, "?")
    ready = preparer()(batch_of([wrong]))
    assert [reject.reason for reject in ready.rejects[1:]] == ["bad_label"]
    assert ready.rows.dtype == np.int64 and len(ready.rows) == 0


VALUES = {
    "click": "01?",
    "w": "12?",
    "at": "12?",
    "p": "1",
    "ad": "ab",
    "price": "1?",
    "hour": "1?",
}


@settings(max_examples=50)
@given(st.lists(st.fixed_dictionaries({k: st.sampled_from(v) for k, v in VALUES.items()})))
def test_each_row_is_either_good_or_one_reject_and_the_good_ones_keep_what_is_theirs(rows):
    ready = preparer()(batch_of(rows))
    rejected = [reject.line - 2 for reject in ready.rejects[1:]]
    assert sorted([*ready.rows.tolist(), *rejected]) == list(range(len(rows)))
    good = [rows[i] for i in ready.rows]
    assert ready.labels.tolist() == [float(row["click"]) for row in good]
    assert ready.importance.tolist() == [float(row["w"]) for row in good]
    alone = preparer()(batch_of(good))
    np.testing.assert_array_equal(ready.hashed.tokens, alone.hashed.tokens)


def test_without_a_label_column_every_row_can_be_scored_and_none_can_be_learned():
    source = SourceSpec(label="", weight="w")
    ready = preparer(source)(batch_of([GOOD, GOOD | {"click": "?"}]))
    assert ready.rows.tolist() == [0, 1]
    assert np.isnan(ready.labels).all()


def test_a_column_without_a_name_is_neither_asked_for_nor_checked():
    prepare = preparer(SourceSpec(label="click"))
    assert prepare.columns == ["click", "ad", "price", "hour"]
    ready = prepare(batch_of([GOOD | {"w": "?", "at": "?", "p": "?"}]))
    assert ready.rows.tolist() == [0]
    assert ready.importance is None and ready.truth is None


def test_a_truth_that_is_no_number_is_nan_and_no_reject():
    ready = preparer()(batch_of([GOOD, GOOD | {"p": "?"}]))
    np.testing.assert_array_equal(ready.truth, [0.25, np.nan])
    assert ready.rejects == [PARSED_BEFORE]


PRICES = [GOOD | {"price": price} for price in ("1", "2", "3", "4", "1", "4")]


def test_learned_edges_advance_and_are_handed_on_until_they_are_known():
    prepare = preparer()
    first = prepare(batch_of(PRICES)).quantiles
    assert first == prepare.vectoriser.quantiles.state()
    assert not prepare.vectoriser.quantiles.learning
    assert prepare(batch_of(PRICES)).quantiles is None


def test_without_learning_the_edges_stay_as_they_are_and_rows_hash_by_them():
    prepare = preparer(learn=False)
    before = prepare.vectoriser.quantiles.state()
    ready = prepare(batch_of(PRICES))
    assert ready.quantiles is None
    assert prepare.vectoriser.quantiles.state() == before
    due, _ = Vectoriser(SPEC).hash_batch(batch_of(PRICES).columns)
    np.testing.assert_array_equal(ready.hashed.tokens, due.tokens)
    learned = preparer()(batch_of(PRICES))
    assert (ready.hashed.tokens != learned.hashed.tokens).any()


def test_a_list_where_a_single_category_is_due_is_called_one():
    columns = pa.RecordBatch.from_pydict({"click": ["1"], "ad": [["x", "y"]]})
    spec = Spec(name="x", source=SourceSpec(label="click"), fields=(FieldSpec(names=("ad",)),))
    ready = Preparer(Vectoriser(spec), spec.source)(replace(batch_of([GOOD]), columns=columns))
    [_, reject] = ready.rejects
    assert (reject.reason, "is a list" in reject.detail) == ("bad_value", True)
