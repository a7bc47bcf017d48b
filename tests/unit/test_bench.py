"""The pure parts of the benchmark: rows for the peers, figures of runs, tables, the README."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.accuracy import base_rate_log_loss
from benchmarks.bench import MEASURES, main
from benchmarks.categories import MISSING, NAMESPACES, category_reader, vw_line
from benchmarks.logs import LOGS, Log, open_logs
from benchmarks.processes import measure_process
from benchmarks.report import (
    BEGIN,
    END,
    Section,
    Table,
    markdown,
    markdown_table,
    raw_figures,
    replace_section,
    said_loss,
    said_ratio,
    said_speed,
    setting,
)
from benchmarks.timing import Run, Timed, fastest, interleave, rate_between, ratio
from features.spec_file import load_spec
from features.vectoriser import Vectoriser

CRITEO_ROW = {"label": "1", "I1": "20", "I2": "", "I3": "#a1b2c", "C1": "abc", "C2": ""}


def timed(name, *rates):
    return Timed(name, [Run(rate, 1.0) for rate in rates])


# Rows for the peers


@given(st.text())
def test_a_value_is_one_word_of_vw_and_can_be_read_back(value):
    line = vw_line({"field": value}, clicked=False)
    label, namespace, word = line.split(" ")
    assert (label, namespace) == ("-1", "|a")
    assert not set(word) & set(":| \t\r\n")
    assert (word == MISSING) == (value == "")
    assert value == "" or unquote(word) == value


def test_each_field_is_a_vw_namespace_with_a_letter_of_its_own():
    line = vw_line({str(i): "x" for i in range(39)}, clicked=True)
    assert [part[0] for part in line.split("|")[1:]] == list(NAMESPACES[:39])
    assert len(set(NAMESPACES)) == len(NAMESPACES)


def test_counts_become_buckets_and_what_is_no_number_is_missing():
    event = category_reader(load_spec("criteo_dac80k"))(CRITEO_ROW)
    assert [event[name] for name in ("I1", "I2", "I3", "C1", "C2")] == ["11", "", "", "abc", ""]


@pytest.mark.parametrize(
    ("count", "bucket"), [("-2", "-2"), ("0", "0"), ("2", "2"), ("3", "4"), ("1000", "50")]
)
def test_a_count_is_itself_below_three_then_its_squared_logarithm(count, bucket):
    assert category_reader(load_spec("criteo_dac80k"))({"I1": count})["I1"] == bucket


def test_the_hour_of_day_is_read_by_the_spec_of_its_log():
    assert category_reader(load_spec("avazu20k"))({"hour": "14102107"})["hour_of_day"] == "7"


@given(st.lists(st.integers(-3, 10**7), min_size=2, max_size=20))
def test_peers_and_the_vectoriser_put_the_same_counts_together(counts):
    spec = load_spec("criteo_dac80k")
    read, vectoriser = category_reader(spec), Vectoriser(spec)
    buckets = {read({"I1": str(c)})["I1"] for c in counts}
    tokens = {int(vectoriser.hash_event({"I1": str(c)}).tokens[0]) for c in counts}
    assert len(buckets) == len(tokens)


# The logs


def simulated(folder):
    [log] = open_logs(folder / "nowhere", folder, rows=40)
    return log


def test_without_the_real_logs_a_simulated_one_is_measured(tmp_path):
    log = simulated(tmp_path)
    assert (log.name, len(log.rows), len(log.events)) == ("simulated", 40, 40)
    assert log.name not in LOGS
    assert set(log.events[0]) == {name for f in log.spec().fields for name in f.names}


def test_every_form_of_a_log_holds_all_its_rows(tmp_path):
    log = simulated(tmp_path)
    tsv, vw = log.file("tsv").read_text().splitlines(), log.file("vw").read_text().splitlines()
    assert tsv[0].split("\t") == list(log.rows[0])
    assert [line.split("\t") for line in tsv[1:]] == [list(row.values()) for row in log.rows]
    assert [line.startswith("1 ") for line in vw] == log.labels
    assert pq.read_table(log.file("parquet")).num_rows == 40
    for form in ("jsonl", "text.jsonl", "mixed.jsonl"):
        parsed = [json.loads(line) for line in log.file(form).read_text().splitlines()]
        assert [row["ad"] for row in parsed] == [row["ad"] for row in log.rows]


def test_a_log_can_be_repeated_under_one_header(tmp_path):
    log = simulated(tmp_path)
    assert len(log.file("tsv", 3).read_text().splitlines()) == 1 + 3 * 40
    assert len(log.file("vw", 3).read_text().splitlines()) == 3 * 40


def test_json_forms_differ_in_what_a_count_that_is_text_becomes(tmp_path):
    log = Log("criteo", "criteo_dac80k", [CRITEO_ROW], tmp_path)
    said = {f: json.loads(log.file(f).read_text()) for f in ("jsonl", "mixed.jsonl", "text.jsonl")}
    numbers = {form: [row[name] for name in ("I1", "I2", "I3", "C2")] for form, row in said.items()}
    assert numbers == {
        "jsonl": [20, None, None, None],
        "mixed.jsonl": [20, None, "#a1b2c", None],
        "text.jsonl": ["20", "", "#a1b2c", ""],
    }


# Runs


def test_contestants_take_turns_and_the_first_round_is_not_counted():
    order, clock = [], count(1)

    def contestant(name):
        order.append(name)
        return Run(next(clock), 1.0)

    both = {name: lambda name=name: contestant(name) for name in "AB"}
    result = interleave(both, 2)
    assert "".join(order) == "ABABAB"
    assert [run.events for run in result["A"].runs] == [3, 5]


def test_the_median_and_not_the_mean_is_said_with_its_span():
    assert said_speed(timed("a", 1_000, 9_000, 2_000)) == "2,000 (1,000–9,000)"


def test_a_ratio_is_of_medians_and_to_the_faster_peer():
    ours, slow, fast = timed("a", 100, 600, 900), timed("b", 50, 60, 70), timed("c", 1, 200, 900)
    assert fastest([slow, fast]) is fast
    assert ratio(ours, slow, fast) == 3.0
    assert ratio(ours, slow) == 10.0


def test_a_stretch_of_a_run_is_cut_out_between_marks():
    marks = [(0, 0.0), (100, 1.0), (300, 5.0)]
    assert rate_between(marks, 0, 100).rate == 100.0
    assert rate_between(marks, 200, 300) == Run(100, 2.0)


def test_the_base_rate_alone_costs_its_entropy():
    assert base_rate_log_loss(1, 2) == pytest.approx(0.693147, abs=1e-6)
    assert base_rate_log_loss(0, 5) == 0.0


def test_a_process_that_fails_stops_the_measure():
    assert measure_process([sys.executable, "-S", "-c", "pass"]).peak_bytes > 1 << 20
    with pytest.raises(subprocess.CalledProcessError):
        measure_process([sys.executable, "-S", "-c", "raise SystemExit(3)"])


# Tables and the README


def test_a_table_is_markdown_with_its_bars_escaped():
    table = Table(("who", "events/s"), [("VW `a|b`", "1,000")])
    assert markdown_table(table).splitlines() == [
        "| who | events/s |",
        "|---|---:|",
        "| VW `a\\|b` | 1,000 |",
    ]


def test_cells_are_short():
    assert [said_ratio(v) for v in (0.5, 5.678, 184.4)] == ["0.5×", "5.68×", "184×"]
    assert [said_loss(v) for v in (0.45067, 1.25, None)] == [".45067", "1.25000", ""]


def test_a_report_names_machine_libraries_rows_and_every_section():
    about = setting(datetime(2026, 1, 2, tzinfo=UTC), 5, {"log": 1234}, "A warning.")
    section = Section("Kernel", "The clock.", [Table(("", "n"), [("a", "1")])], [timed("a", 7)])
    text = markdown([section], about)
    for said in ("2026-01-02", "Python 3", "river 0", "log (1,234 rows)", "**A warning.**"):
        assert said in text
    assert "### 1. Kernel\n\nThe clock.\n\n|  | n |" in text
    assert raw_figures([section])["Kernel"]["timed"][0]["runs"][0]["events"] == 7
    json.dumps(raw_figures([section]))


def test_only_what_stands_between_the_markers_is_replaced():
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    new = replace_section(text, "new\n")
    assert new == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert replace_section(new, "new") == new


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} {BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_readme_without_its_markers_is_not_written(text):
    with pytest.raises(ValueError, match="README needs"):
        replace_section(text, "new")


def test_the_readme_has_its_markers():
    readme = Path(__file__).parents[2] / "benchmarks" / "README.md"
    assert "new" in replace_section(readme.read_text("utf-8"), "new")


# The command


def test_the_help_names_every_measure(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert ", ".join(MEASURES) in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("partial", [["--quick"], ["--only", "kernel"]])
def test_a_partial_run_is_not_written_into_the_readme(partial, capsys):
    with pytest.raises(SystemExit):
        main(["--write", *partial])
    assert "--write keeps a whole run" in capsys.readouterr().err
