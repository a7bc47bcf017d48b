"""A first spec is guessed from a log's first rows, and it is one that can be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import SpecError
from features.spec import FieldSpec, Spec
from features.spec_file import parse_spec
from features.spec_guess import guess_spec

ROWS = 60
CLICKS = [int(i % 7 == 0) for i in range(ROWS)]
START = datetime(2014, 10, 21, tzinfo=UTC)


def text_of(columns: Mapping[str, Sequence[object]], **source: Any) -> str:
    """Guess from columns of values; a column shorter than the label is repeated."""
    count = max(map(len, columns.values()))
    rows = [
        {name: values[i % len(values)] for name, values in columns.items()} for i in range(count)
    ]
    settings: dict[str, Any] = {"format": "csv", "separator": ",", "header": True} | source
    return guess_spec("mine", list(columns), rows, **settings)


def guess(**columns: Sequence[object]) -> Spec:
    return parse_spec(text_of({"click": CLICKS} | columns))


def field_of(spec: Spec, name: str) -> FieldSpec | None:
    return next((field for field in spec.fields if name in field.names), None)


def transform_of(values: Sequence[object], name: str = "x") -> str | None:
    field = field_of(guess(**{"ad": ["a", "b"], name: values}), name)
    return field.transform if field else None


# Label


@pytest.mark.parametrize(
    "values", [[0, 1], ["0", "1"], ["0.0", "1.0"], [True, False], ["true", "false"], [1.0, 0.0]]
)
def test_the_label_is_found_by_its_name_and_its_values(values: list[object]) -> None:
    spec = parse_spec(text_of({"first": [0, 1, 1], "isClicked": values, "ad": ["a", "b", "c"]}))
    assert spec.source.label == "isClicked"


def test_a_column_named_like_a_label_with_other_values_is_not_one() -> None:
    spec = parse_spec(text_of({"label": ["cat", "dog", "cow"], "seen": [0, 1, 0]}))
    assert spec.source.label == "seen"


def test_without_a_name_the_first_column_with_both_values_is_the_label_to_be_checked() -> None:
    text = text_of({"none": [0, 0], "seen": [0, 1], "more": [1, 0], "ad": ["a", "b"]})
    assert parse_spec(text).source.label == "seen"
    assert "check it" in text


def test_a_label_that_is_missing_in_some_row_is_none() -> None:
    with pytest.raises(SpecError, match=r"source\.label: no column looks like a label.*Fix: "):
        text_of({"click": [0, 1, None], "ad": ["a", "b"]})


def test_the_share_of_clicks_is_told() -> None:
    assert "25.00% of these rows are clicks" in text_of({"click": [0, 0, 1, 0], "ad": ["a"]})


# Time and event id


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([(START + timedelta(hours=i)).isoformat() for i in range(ROWS)], "iso"),
        (["2019-11-24 00:01:03.979311+00:00", "2019-11-24 00:01:04Z"], "iso"),
        ([1_413_849_600 + i for i in range(ROWS)], "s"),
        (["1413849600", "1413849601.5"], "s"),
        ([1_413_849_600_000 + i for i in range(ROWS)], "ms"),
        ([1_413_849_600_000_000 + i for i in range(ROWS)], "us"),
        (["14102100", "14102123"], "%y%m%d%H"),
        ([14102100, 14102123], "%y%m%d%H"),
    ],
)
def test_a_timestamp_is_found_with_its_format(values: list[object], form: str) -> None:
    spec = guess(event_time=values, ad=["a", "b"])
    assert (spec.source.timestamp, spec.source.timestamp_format) == ("event_time", form)
    for name in ("hour_of_day", "day_of_week"):
        field = field_of(spec, name)
        assert field is not None
        assert (field.transform, field.column) == (name, "event_time")
    assert field_of(spec, "event_time") is None


@pytest.mark.parametrize(
    "values",
    [
        ["14102124", "14102100"],
        ["2014-13-01", "2014-01-01"],
        [3, 5],
        ["1413849600", ""],
        ["x", "y"],
    ],
)
def test_a_column_named_like_a_time_without_times_is_a_category(values: list[object]) -> None:
    spec = guess(hour=values)
    assert spec.source.timestamp == ""
    field = field_of(spec, "hour")
    assert field is not None
    assert field.transform == "category"


def test_the_timestamp_with_the_better_name_is_taken_and_other_times_are_left_out() -> None:
    times = ["2014-10-21 00:00:00", "2014-10-21 01:00:00"]
    text = text_of({"click": CLICKS, "made_at": times, "timestamp": times, "ad": ["a"]})
    assert parse_spec(text).source.timestamp == "timestamp"
    assert '# - "made_at": another time' in text


def test_time_fields_do_not_take_the_name_of_a_column() -> None:
    spec = guess(time=["2014-10-21", "2014-10-22"], hour_of_day=["x", "y"])
    assert field_of(spec, "time_hour_of_day") is not None
    assert len([name for field in spec.fields for name in field.names]) == 3


def test_the_event_id_is_found_by_its_name_and_unique_values() -> None:
    ids = [f"e{i * 7919 % 997}" for i in range(ROWS)]
    spec = guess(id=ids, impressionId=ids[::-1], ad=["a", "b"])
    assert spec.source.event_id == "impressionId"
    assert field_of(spec, "id") is None
    assert guess(id=["a", "b"]).source.event_id == ""


# What is left out


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        (
            "token",
            [f"t{i * 7919 % 997}" for i in range(ROWS)],
            "nearly every row has another",
        ),
        ("orig_row", [i * i for i in range(ROWS)], "like a row number"),
        ("", list(range(ROWS)), "it has no name"),
        ("p_true", [0.1, 0.2, 0.3], "a prediction of it"),
        ("propensity_score", [0.1, 0.2, 0.3], "a prediction of it"),
        ("pCTR_v2", [0.1, 0.2, 0.3], "a prediction of it"),
        ("conversion", [0, 1, 0, 0], "not known before the click"),
        ("clickTime", ["", "x"], "not known before the click"),
        ("is_attributed", [0, 0, 1], "another label"),
        ("landed", [f"page {c}" if c else None for c in CLICKS], "it tells the answer"),
        ("copy", ["true" if c else "false" for c in CLICKS], "it tells the answer"),
        ("geo", [{"country": "x"}], "keys of their own"),
    ],
)
def test_leaves_out(name: str, values: list[object], why: str) -> None:
    text = text_of({"click": CLICKS, name: values, "ad": ["a", "b"]})
    (line,) = [line for line in text.split("\n") if line.startswith(f'# - "{name}": ')]
    assert why in line
    assert field_of(parse_spec(text), name) is None


def test_rows_too_few_to_tell_are_not_taken_for_unique() -> None:
    spec = parse_spec(text_of({"click": [0, 1, 0], "user": ["a", "b", "c"]}))
    assert field_of(spec, "user") is not None


def test_nothing_left_to_learn_from_is_an_error() -> None:
    with pytest.raises(SpecError, match="no column is left"):
        text_of({"click": CLICKS, "p_true": [0.5, 0.25]})


# Transforms


@pytest.mark.parametrize(
    ("values", "transform"),
    [
        (["a", "b"], "category"),
        (["one"], "category"),
        ([None], "category"),
        ([True, False], "category"),
        ([["a", "b"], [], None], "categories"),
        ([1, 2, 3], "category"),
        ([i * 5 % 13 for i in range(ROWS)], "log_squared"),
        ([str(i * 5 % 13) for i in range(ROWS)], "log_squared"),
        ([float(i * 5 % 13) for i in range(ROWS)], "log_squared"),
        (["-1", *[str(i * 5 % 13) for i in range(ROWS - 1)]], "log_squared"),
        ([5000 + i * 5 % 13 for i in range(ROWS)], "category"),
        ([f"{i * 5 % 13:03}" for i in range(ROWS)], "category"),
        ([i * 5 % 13 / 4 for i in range(ROWS)], "quantile"),
        (["0.5", "1e-3", "", "-2"], "quantile"),
        ([0.5, 1.5], "category"),
        (["0.5", "1.5", "2.5", "x"], "category"),
        (["inf", "1.5", "2.5", "nan"], "category"),
    ],
)
def test_transform_by_values(values: list[object], transform: str) -> None:
    assert transform_of(values) == transform


def test_numbers_named_like_ids_are_categories() -> None:
    assert transform_of([i * 5 % 13 for i in range(ROWS)], "item_id") == "category"


def test_a_number_gets_ten_buckets_of_equal_mass() -> None:
    field = field_of(guess(price=[i / 2 + 0.25 for i in range(100)]), "price")
    assert field is not None
    assert field.edges == tuple(i * 5 + 0.25 for i in range(1, 10))


def test_a_number_that_is_nearly_always_0_gets_edges_between_its_other_values() -> None:
    field = field_of(guess(price=[0.0] * 57 + [0.5, 1.5, 2.5]), "price")
    assert field is not None
    assert field.edges == (0.5, 1.5, 2.5)


def test_text_further_down_among_numbers_costs_no_rows() -> None:
    field = field_of(guess(price=[0.5, 1.5, 2.5]), "price")
    assert field is not None
    assert field.text == "category"


# Crosses and source


def test_up_to_60_fields_are_crossed_and_more_are_not() -> None:
    names: dict[str, Sequence[object]] = {f"f{i}": ["a", "b"] for i in range(60)}
    assert guess(**names).crosses.all_pairs
    text = text_of(names | {"click": CLICKS, "more": ["a"]})
    assert not parse_spec(text).crosses.all_pairs
    assert "all_pairs = false  # all would be 1830 crosses" in text


def test_the_source_is_written_as_found() -> None:
    columns: dict[str, Sequence[object]] = {"click": [0, 1], "ad": ["a", "b"]}
    source = parse_spec(text_of(columns, separator=";", header=False)).source
    assert (source.format, source.separator, source.header) == ("csv", ";", False)
    assert source.columns == ("click", "ad")
    source = parse_spec(text_of(columns, format="tsv", separator="\t")).source
    assert (source.format, source.separator, source.header) == ("tsv", "", True)
    source = parse_spec(text_of(columns, format="jsonl", separator="", header=False)).source
    assert (source.format, source.header, source.columns) == ("jsonl", True, ())


def test_a_log_without_rows_or_with_a_column_twice_is_an_error() -> None:
    source: Any = {"format": "csv", "separator": ",", "header": True}
    with pytest.raises(SpecError, match="no rows to look at"):
        guess_spec("mine", ["click"], [], **source)
    with pytest.raises(SpecError, match="two columns are named 'ad'"):
        guess_spec("mine", ["click", "ad", "ad"], [{"click": 1}], **source)


VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["", "1", "0.5", "NULL", "14102100", "2014-10-21", "é"]),
    st.lists(st.text(max_size=3), max_size=2),
)
NAME = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["hour_of_day", "id", "timestamp", 'a, "b" #', "p_true", "x" * 100]
)


@given(
    st.lists(NAME, unique=True, min_size=1, max_size=12),
    st.integers(1, 25),
    st.sampled_from(["csv", "tsv", "jsonl", "parquet", "auto"]),
    st.booleans(),
    st.data(),
)
def test_whatever_the_log_holds_the_guess_is_a_spec_that_can_be_used(
    names: list[str], count: int, format: str, header: bool, data: st.DataObject
) -> None:
    columns = ["click", "ad", *(name for name in names if name not in ("click", "ad"))]
    cells = {name: data.draw(st.lists(VALUE, min_size=1, max_size=6)) for name in columns[2:]}
    cells |= {"click": [0, 1], "ad": ["a"]}
    rows = [{name: values[i % len(values)] for name, values in cells.items()} for i in range(count)]
    text = guess_spec("a b", columns, rows, format=format, separator="", header=header)
    spec = parse_spec(text)
    assert spec.source.label == "click"
    read = {field.column or name for field in spec.fields for name in field.names}
    assert read <= set(columns) - {"click"}
