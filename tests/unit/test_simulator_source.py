"""``sim:NAME?key=value`` read as a source."""

import json

import msgspec
import pytest

from features.batch import Position
from features.errors import SourceError
from market import COLUMNS, Abrupt, MarketSettings, open_simulation, parse_sim, simulate, stream_uri
from market.columns import json_lines


def test_a_uri_gives_scenario_parameters_market_sizes_seed_and_events():
    simulation = parse_sim("sim:abrupt?events=1000&seed=4&change_at=300&share=.2&users=99")
    assert simulation.scenario == Abrupt(change_at=300, share=0.2)
    assert simulation.market == MarketSettings(users=99)
    assert (simulation.seed, simulation.events) == (4, 1000)


def test_a_uri_of_the_name_alone_has_no_end():
    assert parse_sim("sim:stationary").events is None


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sim:weekend", "no scenario 'weekend'.*stationary, gradual, abrupt, churn"),
        ("sim:", "no scenario ''"),
        ("sim:stationary?change_at=5", "unknown key 'change_at'.*seed, events, users"),
        ("sim:abrupt?speed=5", "unknown key 'speed'.*change_at, share, factor"),
        ("sim:abrupt?events=many", r"Expected `int`, got `.*` for `events`"),
        ("sim:abrupt?events=1.5", r"Expected `int`, got `.*` for `events`"),
        ("sim:abrupt?events=0", "`events` must be from 1"),
        ("sim:abrupt?seed=-1", "`seed` must be 0 or more"),
        ("sim:abrupt?share=2", r"<= 1.0 for `share`"),
        ("sim:abrupt?factor=nan", r"for `factor`"),
        ("sim:stationary?users=0", r">= 1 for `users`"),
        ("sim:stationary?events", "cannot be read"),
        ("sim:stationary?seed=1&seed=2", "given twice"),
    ],
)
def test_a_wrong_uri_is_refused_with_the_known_names_or_the_bound(uri, said):
    with pytest.raises(SourceError, match=said):
        parse_sim(uri)


def test_batches_carry_the_event_number_as_position():
    batches = list(open_simulation("sim:churn?events=1000&seed=1", ["ad", "click"], batch_rows=300))
    assert [batch.columns.num_rows for batch in batches] == [300, 300, 300, 100]
    file = "sim:churn?seed=1"
    assert [batch.position for batch in batches] == [
        Position(file, row) for row in (300, 600, 900, 1000)
    ]
    assert batches[1].positions(0) == Position(file, 301)
    assert batches[1].positions(299) == batches[1].position
    assert all(batch.file == file and batch.rejects == [] for batch in batches)


def test_reading_goes_on_exactly_where_a_position_says():
    uri, columns = "sim:gradual?events=20000&seed=1", ["impression_id", "click", "p_true"]
    first = next(open_simulation(uri, columns, batch_rows=7001))
    rest = list(open_simulation(uri, columns, first.positions(5000)))
    assert rest[0].columns["impression_id"][0].as_py() == "imp-000000005001"
    assert rest[-1].position.row == 20_000
    assert sum(batch.columns.num_rows for batch in rest) == 20_000 - 5001
    assert rest[0].columns.slice(0, 100).equals(first.columns.slice(5001, 100))


def test_a_position_at_the_end_gives_nothing_more():
    uri = "sim:stationary?events=10"
    end = next(open_simulation(uri, ["click"])).position
    assert list(open_simulation(uri, ["click"], end)) == []


def test_a_longer_run_takes_up_the_position_of_a_shorter_one():
    end = next(open_simulation("sim:stationary?events=10", ["click"])).position
    longer = next(open_simulation("sim:stationary?events=30", ["click"], end))
    assert longer.columns.num_rows == 20


@pytest.mark.parametrize(
    "other",
    [
        "sim:stationary?events=1000",
        "sim:abrupt?events=1000&seed=1",
        "sim:abrupt?events=2000",
        "sim:abrupt?events=1000&factor=2",
        "sim:abrupt?events=1000&users=100",
    ],
)
def test_a_position_of_another_stream_is_refused(other):
    end = next(open_simulation("sim:abrupt?events=1000", ["click"])).position
    with pytest.raises(SourceError, match="position"):
        open_simulation(other, ["click"], end)


def test_the_streams_uri_gives_the_same_stream_again():
    simulation = parse_sim("sim:abrupt?events=1000&seed=3&users=99&factor=2&site_zipf=0.7")
    again = parse_sim(stream_uri(simulation))
    assert msgspec.structs.replace(again, events=1000) == simulation


def test_origin_gives_the_row_as_json():
    batch = next(open_simulation("sim:stationary?events=50&seed=1", COLUMNS))
    for row in (0, 17, 49):
        line, raw = batch.origin(row)
        assert line == 0
        assert json.loads(raw) == batch.columns.slice(row, 1).to_pylist()[0]


def test_wrong_columns_are_refused_before_anything_is_drawn():
    with pytest.raises(SourceError, match=r"no column 'price'.*impression_id"):
        open_simulation("sim:stationary", ["price"])


def test_json_lines_say_what_the_batch_says_slices_too():
    batch = next(simulate("churn", seed=1, events=3000)).slice(1000, 1500)
    rows = [json.loads(line) for line in json_lines(batch).splitlines()]
    assert rows == batch.to_pylist()
