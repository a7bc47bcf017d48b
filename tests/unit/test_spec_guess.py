"""A first spec is guessed from rows of a log: what each column is, and how it is learned."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from features.errors import SpecError
from features.spec_file import parse_spec
from features.spec_guess import guess_spec
from streaming.sources.json_columns import column_of

ROWS = 60
CLICKS = [int(i % 7 == 0) for i in range(ROWS)]
COUNTS = [[0, 1, 2, 3][i % 4] if i % 3 else i + 4 for i in range(ROWS)]
START = datetime(2014, 10, 21, tzinfo=UTC)


def table_of(columns):
    """Columns of values; one shorter than the longest is repeated."""
    count = max(map(len, columns.values()))
    return pa.table(
        {
            name: column_of([values[i % len(values)] for i in range(count)])
            for name, values in columns.items()
        }
    )


def text_of(columns, **options):
    return guess_spec("mine", table_of(columns), **options)


def guess(**columns):
    return parse_spec(text_of({"click": CLICKS} | columns))


def names_of(spec):
    return {name for field in spec.fields for name in field.names}


def field_of(spec, name):
    return next(field for field in spec.fields if name in field.names)


def transform_of(values, name="x"):
    return field_of(guess(**{"ad": ["a", "b"], name: values}), name).transform


# Label


@pytest.mark.parametrize(
    ("values", "mapping"),
    [
        ([0, 1], {}),
        (["0", "1"], {}),
        (["0.0", "1.0"], {}),
        ([True, False], {}),
        (["true", "false"], {}),
        ([1.0, 0.0], {}),
        ([0], {}),
        (["-1", "+1"], {"-1": 0, "+1": 1}),
        ([-1.0, 1.0], {"-1": 0, "1": 1}),
        (["N", "Y"], {"N": 0, "Y": 1}),
        (["no", "yes"], {"no": 0, "yes": 1}),
        ([0, 1, 3], {"0": 0, "*": 1}),
    ],
)
@pytest.mark.parametrize(
    "name", ["isClicked", "click", "Clicks", "clk", "CLICKED", "label", "Clicked on Ad", "y"]
)
def test_the_label_is_found_by_its_name_and_its_values(name, values, mapping):
    columns = {"first": [0, 1, 1], name: values, "ad": ["a", "b", "c"]}
    if "*" in mapping and "cl" not in name.lower():
        return  # only clicks are counted
    source = parse_spec(text_of(columns)).source
    assert (source.label, source.label_values) == (name, mapping)


def test_clicks_beside_views_are_a_number_of_them():
    columns = {"clicks": [2, 0, 1], "Impressions": [10, 4, 1], "ad": ["a", "b", "c"]}
    text = text_of(columns)
    source = parse_spec(text).source
    assert (source.label, source.views, source.label_values) == ("clicks", "Impressions", {})
    assert "20.00% of these views are clicks" in text


def test_a_column_named_like_a_label_with_other_values_is_not_one():
    spec = parse_spec(text_of({"label": ["cat", "dog", "cow"], "seen": [0, 1, 0]}))
    assert spec.source.label == "seen"


def test_without_a_name_the_only_column_with_both_values_is_the_label_to_be_checked():
    text = text_of({"none": [0, 0], "seen": [0, 1], "ad": ["a", "b"]})
    assert parse_spec(text).source.label == "seen"
    assert "check it" in text


@pytest.mark.parametrize("names", [("click", "label"), ("target", "is_click"), ("seen", "more")])
def test_several_columns_that_may_be_the_label_are_asked_about(names):
    columns = {names[0]: [0, 1, 0, 0], names[1]: [1, 0, 0, 1], "ad": ["a", "b"]}
    with pytest.raises(SpecError, match=f"{names[0]}', '{names[1]}'.*Fix: .*--label {names[0]}"):
        text_of(columns)
    assert parse_spec(text_of(columns, label=names[1])).source.label == names[1]


def test_what_happens_only_after_clicks_leaves_no_doubt_which_is_the_label():
    columns = {"target": [0, 1, 0, 0], "click": [0, 1, 1, 0], "ad": ["a", "b", "c"]}
    assert parse_spec(text_of(columns)).source.label == "click"


def test_the_first_of_columns_without_names_is_the_label_by_custom():
    columns = {"c1": [0, 1, 0], "c2": [1, 0, 0], "c3": ["a", "b", "c"]}
    assert parse_spec(text_of(columns)).source.label == "c1"


def test_a_label_is_named_and_its_values_explained_by_hand():
    columns = {"end": ["won", "lost", "late"], "ad": ["a", "b", "c"], "click": [0, 1]}
    with pytest.raises(SpecError, match=r"'won', 'lost', 'late'.*Fix: .*--label-values"):
        text_of(columns, label="end")
    with pytest.raises(SpecError, match=r"no column is named 'no'.*end, ad, click"):
        text_of(columns, label="no")
    source = parse_spec(text_of(columns, label="end", label_values={"won": 1, "*": 0})).source
    assert (source.label, source.label_values) == ("end", {"won": 1, "*": 0})


def test_a_label_that_is_missing_in_many_rows_is_none():
    with pytest.raises(SpecError, match=r"source\.label: no column looks like a label.*Fix: "):
        text_of({"click": [0, 1, None], "ad": ["a", "b"]})


def test_the_share_of_clicks_is_told():
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
def test_a_timestamp_is_found_with_its_format(values, form):
    spec = guess(event_time=values, ad=["a", "b"])
    assert (spec.source.timestamp, spec.source.timestamp_format) == ("event_time", form)
    for name in ("hour_of_day", "day_of_week"):
        field = field_of(spec, name)
        assert (field.transform, field.column) == (name, "event_time")
    assert "event_time" not in names_of(spec)


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
def test_a_column_named_like_a_time_without_times_is_a_category(values):
    spec = guess(hour=values)
    assert spec.source.timestamp == ""
    field = field_of(spec, "hour")
    assert field.transform == "category"


def test_the_timestamp_with_the_better_name_is_taken_and_other_times_are_left_out():
    times = ["2014-10-21 00:00:00", "2014-10-21 01:00:00"]
    text = text_of({"click": CLICKS, "made_at": times, "timestamp": times, "ad": ["a"]})
    assert parse_spec(text).source.timestamp == "timestamp"
    assert '# - "made_at": another time' in text


def test_time_fields_do_not_take_the_name_of_a_column():
    spec = guess(time=["2014-10-21", "2014-10-22"], hour_of_day=["x", "y"])
    assert "time_hour_of_day" in names_of(spec)
    assert len(names_of(spec)) == 3


def test_the_event_id_is_found_by_its_name_and_unique_values():
    ids = [f"e{i * 7919 % 997}" for i in range(ROWS)]
    spec = guess(id=ids, impressionId=ids[::-1], ad=["a", "b"])
    assert spec.source.event_id == "impressionId"
    assert "id" not in names_of(spec)
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
        ("p_true", [0.1, 0.2, 0.3], "a prediction of it"),
        ("propensity_score", [0.1, 0.2, 0.3], "a prediction of it"),
        ("pCTR_v2", [0.1, 0.2, 0.3], "a prediction of it"),
        ("conversion", [0, 1, 0, 0], "not known before the click"),
        ("clickTime", ["", "x"], "not known before the click"),
        ("is_attributed", [0, 0, 1], "another label"),
        ("landed", [f"page {c}" if c else None for c in CLICKS], "it tells the answer"),
        ("copy", ["true" if c else "false" for c in CLICKS], "it tells the answer"),
        ("complement", [1 - c for c in CLICKS], "it tells the answer"),
        ("sale", [c * (i % 14) for i, c in enumerate(CLICKS)], "is not known before the click"),
        (
            "basket",
            [c * (i + 1) for i, c in enumerate(CLICKS)],
            "only clicks have anything but '0'",
        ),
        ("seconds", [i if c else -1 for i, c in enumerate(CLICKS)], "have anything but '-1'"),
        ("gone", [f"t{i}" if c else "" for i, c in enumerate(CLICKS)], "only clicks have one"),
        ("shown", ["01/02/2024", "02/02/2024"], "the day or the month first"),
    ],
)
def test_leaves_out(name, values, why):
    text = text_of({"click": CLICKS, name: values, "ad": ["a", "b"]})
    (line,) = [line for line in text.split("\n") if line.startswith(f'# - "{name}": ')]
    assert why in line
    assert name not in names_of(parse_spec(text))


def test_says_what_the_readers_cannot_use():
    left_out = {"geo": "its values have keys of their own", "": "it has no name"}
    text = text_of({"click": CLICKS, "ad": ["a", "b"]}, left_out=left_out)
    assert '# - "geo": its values have keys of their own\n# - "": it has no name\n' in text
    with pytest.raises(SpecError, match=r"no column is left.*'geo': its values have keys"):
        text_of({"click": CLICKS}, left_out=left_out)


@pytest.mark.parametrize("name", ["rare", "noise"])
def test_what_agrees_with_the_label_by_chance_is_a_field(name):
    rows = 2000
    columns = {
        "click": [int(i % 7 == 0) for i in range(rows)],
        "rare": [int(i in (7, 14)) for i in range(rows)],  # twice, and a click each time
        "noise": [int(i * 7919 % 997 < 140) for i in range(rows)],
    }
    assert name in names_of(parse_spec(text_of(columns)))


def test_rows_too_few_to_tell_are_not_taken_for_unique():
    spec = parse_spec(text_of({"click": [0, 1, 0], "user": ["a", "b", "c"]}))
    assert "user" in names_of(spec)


def test_nothing_left_to_learn_from_is_an_error():
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
        (COUNTS, "log_squared"),
        ([str(count) for count in COUNTS], "log_squared"),
        ([float(count) for count in COUNTS], "log_squared"),
        (["-1", *map(str, COUNTS[1:])], "log_squared"),
        (["NULL", *map(str, COUNTS[1:])], "log_squared"),
        # ids: as many high ones as low ones, far from 0, far below it, or huge
        ([i * 5 % 13 for i in range(ROWS)], "category"),
        ([5000 + count for count in COUNTS], "category"),
        ([-count * 1000 for count in COUNTS], "category"),
        ([count * 10**9 for count in COUNTS], "category"),
        (["68fd1e64", "80e26c9b", "12345678"], "category"),
        # lists
        (["a|b", "b", "c|a|b", ""], "categories"),
        (["a;b", "b", "c;a;b", "c"], "categories"),
        (["a,b", "b", "c,a,b", "c"], "categories"),
        (["1|5|9", "5", "9|1"], "categories"),
        (["Smith; John", "Doe; Ann"], "category"),
        (["New York", "San Jose", "York"], "category"),
        ([f"{i * 5 % 13:03}" for i in range(ROWS)], "category"),
        ([i * 5 % 13 / 4 for i in range(ROWS)], "quantile"),
        (["0.5", "1e-3", "", "-2"], "quantile"),
        ([0.5, 1.5], "category"),
        (["0.5", "1.5", "2.5", "x"], "category"),
        (["inf", "1.5", "2.5", "nan"], "category"),
    ],
)
def test_transform_by_values(values, transform):
    assert transform_of(values) == transform


@pytest.mark.parametrize("name", ["item_id", "user", "userid", "UserID", "adId", "ip", "device"])
def test_numbers_named_like_ids_are_categories(name):
    assert transform_of(COUNTS, name) == "category"


@pytest.mark.parametrize("name", ["bid", "price", "age", "bid_floor"])
def test_numbers_named_like_measures_are_in_buckets(name):
    assert transform_of([100 + i * 5 % 13 for i in range(ROWS)], name) == "quantile"


@pytest.mark.parametrize(
    ("name", "values", "separator"),
    [
        ("x", ["a|b", "b", "c|a"], "|"),
        ("x", ["a^b", "b", "a"], "^"),
        ("tags", ["a b", "b", "a"], " "),
    ],
)
def test_the_separator_of_a_list_is_found(name, values, separator):
    field = field_of(guess(**{name: values}), name)
    assert (field.transform, field.separator) == ("categories", separator)


def test_a_number_gets_ten_buckets_of_equal_mass():
    field = field_of(guess(price=[i / 2 + 0.25 for i in range(100)]), "price")
    assert field.edges == tuple(i * 5 + 0.25 for i in range(1, 10))


def test_a_number_that_is_nearly_always_0_gets_edges_between_its_other_values():
    field = field_of(guess(price=[0.0] * 57 + [0.5, 1.5, 2.5]), "price")
    assert field.edges == (0.5, 1.5, 2.5)


def test_text_further_down_among_numbers_costs_no_rows():
    field = field_of(guess(price=[0.5, 1.5, 2.5]), "price")
    assert field.text == "category"


# Crosses and source


def test_up_to_40_fields_are_crossed_and_of_more_those_that_tell_most():
    names = {f"f{i}": ["a", "b"] for i in range(40)}
    assert guess(**names).crosses.all_pairs
    names["telling"] = [f"v{(i % 7 == 0) ^ (i % 5 == 0)}" for i in range(ROWS)]
    spec = guess(**names)
    assert spec.crosses.groups == (("crossed", "crossed"),)
    crossed = {name for f in spec.fields if f.group == "crossed" for name in f.names}
    assert len(crossed) == 30
    assert "telling" in crossed


def test_counters_are_proposed_where_there_are_times():
    times = [(START + timedelta(hours=5 * i)).isoformat() for i in range(ROWS)]
    columns = {"click": CLICKS, "time": times, "ad": [f"a{i % 6}" for i in range(ROWS)]}
    text = text_of(columns)
    assert not parse_spec(text).counters
    proposed = text.replace("# [[counters]]", "[[counters]]").replace("# keys =", "keys =")
    [counters] = parse_spec(proposed.replace("# half_lives", "half_lives")).counters
    assert (counters.keys, counters.half_lives_h) == (("ad",), (48,))
    assert "[[counters]]" not in text_of({"click": CLICKS, "ad": columns["ad"]})


def test_the_keys_without_which_the_log_cannot_be_read_are_written():
    columns = {"click": [0, 1], "ad": ["a", "b"]}
    keys = {"separator": ";", "header": False, "columns": ("click", "ad")}
    source = parse_spec(text_of(columns, source=keys)).source
    assert (source.format, source.separator, source.header) == ("auto", ";", False)
    assert source.columns == ("click", "ad")
    assert "format" not in text_of(columns).split("[source]")[1].split("[[fields]]")[0]


def test_a_log_without_rows_is_an_error():
    with pytest.raises(SpecError, match="no rows to look at"):
        guess_spec("mine", pa.table({"click": pa.array([], pa.int64())}))
