"""``clicktide simulate``: its files agree, appear whole or not at all, and errors are said."""

import gzip
import json
import re

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import pytest
import typer
import zstandard
from command import invoke, printed, refusal
from full_disk import room_for

from clicktide.simulate import simulate
from market import COLUMNS, SCENARIOS, MarketSettings
from market import simulate as stream
from market.impressions import BLOCK

EVENTS = BLOCK + 1000  # more than one batch
app = typer.Typer()
app.command()(simulate)


def simulated(*arguments):
    return printed(app, *arguments)


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "new" / "folder"
    return folder, simulated("stationary", "--events", EVENTS, "--seed", 1, "--out", folder)


def test_the_summary_counts_what_was_written(written):
    folder, summary = written
    names = ["impressions.jsonl", "clicks.jsonl", "truth.jsonl"]
    assert summary["files"] == [str(folder / name) for name in names]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    truth = lines(folder / "truth.jsonl")
    assert summary["events"] == len(truth) == EVENTS
    assert summary["clicks"] == sum(row["click"] for row in truth)
    assert summary["click_rate"] == summary["clicks"] / EVENTS
    assert summary["mean_p_true"] == pytest.approx(sum(row["p_true"] for row in truth) / EVENTS)


def test_impressions_clicks_and_truth_join_into_the_stream(written):
    folder, _ = written
    clicks = {row["impression_id"]: row["timestamp"] for row in lines(folder / "clicks.jsonl")}
    joined = [
        row
        | {"p_true": truth["p_true"], "click": truth["click"]}
        | {"click_delay_ms": clicks.pop(row["impression_id"], row["timestamp"]) - row["timestamp"]}
        for row, truth in zip(
            lines(folder / "impressions.jsonl"), lines(folder / "truth.jsonl"), strict=True
        )
    ]
    batches = stream("stationary", seed=1, events=EVENTS)
    assert joined == pa.Table.from_batches(list(batches)).to_pylist()
    assert clicks == {}


def test_what_is_served_holds_neither_label_nor_truth(written):
    folder, _ = written
    served = set(COLUMNS) - {"click", "click_delay_ms", "p_true"}
    assert set(lines(folder / "impressions.jsonl")[0]) == served


def test_clicks_are_in_the_order_of_their_own_times(written):
    rows = lines(written[0] / "clicks.jsonl")
    keys = [(row["timestamp"], row["impression_id"]) for row in rows]
    assert keys == sorted(keys)
    ids = [row["impression_id"] for row in rows]
    assert ids != sorted(ids), "delays must reorder clicks, or this shows nothing"


def plain(table):
    """Decode the dictionary columns, which only Parquet keeps."""
    fields = [
        field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def read_text(path):
    raw = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(raw)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    return raw


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".csv.zst", ".parquet"])
def test_examples_are_the_labelled_rows_with_the_truth(tmp_path, suffix):
    file = tmp_path / f"examples{suffix}"
    simulated("churn?users=500", "--events", EVENTS, "--seed", 2, "--examples", file)
    wanted = [name for name in COLUMNS if name not in ("click", "click_delay_ms", "p_true")]
    columns = [*wanted, "click", "p_true"]
    market = MarketSettings(users=500)
    batches = stream("churn", seed=2, events=EVENTS, market=market, columns=columns)
    expected = pa.Table.from_batches(list(batches))
    if suffix == ".parquet":
        found = pq.read_table(file)
    elif ".csv" in suffix:
        found = pa_csv.read_csv(pa.BufferReader(read_text(file)))
        joined = pc.binary_join(expected["interests"], " ")
        expected = expected.set_column(columns.index("interests"), "interests", joined)
    else:
        found = pa_json.read_json(pa.BufferReader(read_text(file)))
    assert found.cast(plain(expected).schema).equals(plain(expected))


def test_the_same_simulation_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        simulated("gradual", "--events", 3000, "--examples", tmp_path / f"{name}.jsonl.gz")
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_existing_files_stay_unless_forced(tmp_path):
    file = tmp_path / "clicks.jsonl"
    file.write_text("mine")
    told = refusal(app, "churn", "--events", 100, "--out", tmp_path)
    assert "clicks.jsonl: exists already. Fix: --force" in told
    assert [path.name for path in tmp_path.iterdir()] == ["clicks.jsonl"]
    assert file.read_text() == "mine"
    simulated("churn", "--events", 100, "--out", tmp_path, "--force")
    assert file.read_text() != "mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "x"], "no scenario given. Fix: one of stationary"),
        (["abrupt"], "nowhere to write to. Fix: give --out DIR"),
        (["abrupt", "--examples", "x.xlsx"], "x.xlsx: examples cannot.*jsonl, .csv, .parquet"),
        (["abrupt", "--examples", "x.parquet.gz"], "x.parquet.gz: examples cannot"),
        (["churn", "--events", 10, "--out", "file/folder"], "cannot be written: Not a directory"),
    ],
)
def test_a_wrong_command_says_what_to_write_instead(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert re.search(said, refusal(app, *arguments))


def test_options_win_over_the_parameters_in_the_name(tmp_path):
    summary = simulated("abrupt?events=50&change_at=3", "--events", 70, "--out", tmp_path)
    assert summary["events"] == 70


@pytest.mark.parametrize("name", ["e.jsonl", "e.jsonl.gz", "e.csv", "e.csv.zst", "e.parquet"])
def test_a_disk_that_fills_up_is_said_and_leaves_nothing(tmp_path, name):
    with room_for(100_000):
        told = refusal(app, "churn", "--events", EVENTS, "--examples", tmp_path / name)
    assert f"{name}: cannot be written" in told
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_no_file_and_exits_130(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("clicktide.simulate._ClickOrder.add", interrupted)
    result = invoke(app, "churn", "--events", 100, "--out", tmp_path)
    assert result.exit_code == 130
    assert "Stopped; no file was written." in result.output
    assert list(tmp_path.iterdir()) == []


def test_list_shows_every_scenario_on_a_line_of_its_own():
    shown = invoke(app, "--list").stdout.splitlines()
    assert [line.split()[0] for line in shown[: len(SCENARIOS)]] == list(SCENARIOS)
    assert "change_at" in shown[2]
    assert list(json.loads(invoke(app, "--list", "--json").stdout)) == list(SCENARIOS)
