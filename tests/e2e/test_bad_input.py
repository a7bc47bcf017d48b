"""``clicktide replay`` on bad input: every bad row is one reject, every bad log one clear error."""

import ctypes
import gzip
import io
import json
import os
import subprocess
import sys
import zlib
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from command import clicktide_process, run_clicktide
from shop_log import standard_input

from learning.snapshot import load_snapshot

SPEC = """
name = "small"
hash = {bits = 10, cross_bits = 10}
crosses.all_pairs = true
fields = [{names = ["ad"]}, {names = ["views"], transform = "log2"}]
[source]
label = "click"
weight = "w"
timestamp = "at"
timestamp_format = "s"
"""
GOOD = {"click": "1", "w": "1", "at": "1700000000", "ad": "shoes", "views": "3"}
BEFORE, AFTER = 3, 2  # good rows around the bad one
HUGE = b"x" * 10_000_000
KEPT = 1 << 16  # bytes kept of a line that is too long
ENDS = {"csv": b",", "tsv": b"\t"}


def csv(**changes):
    return ",".join((GOOD | changes).values()).encode()


def tsv(**changes):
    return csv(**changes).replace(b",", b"\t")


def jsonl(**changes):
    return json.dumps(GOOD | changes).encode()


def log_of(format, *rows):
    """A log of some lines; its header has the columns of ``GOOD``."""
    header = [] if format == "jsonl" else [ENDS[format].join(name.encode() for name in GOOD)]
    return b"\n".join([*header, *rows, b""])


def parquet(*rows):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), file)
    return file.getvalue()


NO_ROWS = io.BytesIO()
pq.write_table(pa.table({name: pa.array([], pa.string()) for name in GOOD}), NO_ROWS)


# Bad rows


@dataclass(frozen=True)
class Bad:
    """A bad row: its log's format, the row, its reason, and a word that the detail must have."""

    format: str
    row: bytes
    reason: str
    said: str

    @property
    def line(self):
        """Where it stands; Parquet has no lines."""
        return {"jsonl": BEFORE + 1, "parquet": 0}.get(self.format, BEFORE + 2)

    def log(self):
        if self.format == "parquet":
            return parquet(*[GOOD] * BEFORE, json.loads(self.row), *[GOOD] * AFTER)
        good = {"csv": csv, "tsv": tsv, "jsonl": jsonl}[self.format]()
        return log_of(self.format, *[good] * BEFORE, self.row, *[good] * AFTER)


BAD_ROWS = {
    # A row has as many columns as the header: one less is short.
    "csv-short": Bad("csv", b"1,1,1700000000,shoes", "row_too_short", "expected 5"),
    "tsv-short": Bad("tsv", b"1\t1\t1700000000\tshoes", "row_too_short", "expected 5"),
    # One more is long.
    "csv-long": Bad("csv", csv() + b",x", "row_too_long", "expected 5"),
    "tsv-long": Bad("tsv", tsv() + b"\tx", "row_too_long", "expected 5"),
    # A quote that is opened is closed on its line.
    "csv-quote": Bad("csv", csv(ad='"shoes'), "broken_quotes", "not closed"),
    # Where the spec declares a number, nothing but a number, or nothing at all, may stand.
    "csv-number": Bad("csv", csv(views="many"), "bad_number", "'views': 'many'"),
    "jsonl-number": Bad("jsonl", jsonl(views="many"), "bad_number", "'views': 'many'"),
    "parquet-number": Bad("parquet", jsonl(views="many"), "bad_number", "'views': 'many'"),
    # A list is no number either.
    "jsonl-list": Bad("jsonl", jsonl(views=[1, 2]), "bad_number", "'views'"),
    # A label is 0 or 1,
    "csv-label": Bad("csv", csv(click="2"), "bad_label", "'click': '2'"),
    # true or false, and no other word for it;
    "tsv-label": Bad("tsv", tsv(click="yes"), "bad_label", "'click': 'yes'"),
    "parquet-label": Bad("parquet", jsonl(click="yes"), "bad_label", "'click': 'yes'"),
    # a label between the two is none,
    "jsonl-label": Bad("jsonl", jsonl(click=0.5), "bad_label", "'click': '0.5'"),
    # and one that is not there is not a 0.
    "csv-no-label": Bad("csv", csv(click=""), "bad_label", "'click': ''"),
    "jsonl-no-label": Bad("jsonl", jsonl(click=None), "bad_label", "'click': ''"),
    "jsonl-label-list": Bad("jsonl", jsonl(click=[1]), "bad_label", "'click'"),
    # A time has the format that the spec states.
    "csv-time": Bad("csv", csv(at="2023-11-14"), "bad_time", "'at': '2023-11-14'"),
    "jsonl-time": Bad("jsonl", jsonl(at="noon"), "bad_time", "'at': 'noon'"),
    # A weight is a finite number from 0 up.
    "csv-weight": Bad("csv", csv(w="heavy"), "bad_weight", "'w': 'heavy'"),
    "tsv-weight": Bad("tsv", tsv(w="-0.5"), "bad_weight", "'w': '-0.5'"),
    "csv-weight-of-a-time": Bad("csv", csv(w="1700000000"), "bad_weight", "'w': '1700000000'"),
    "csv-weight-inf": Bad("csv", csv(w="inf"), "bad_weight", "'w': 'inf'"),
    # A line is a whole JSON value,
    "jsonl-broken": Bad("jsonl", jsonl()[:-3], "broken_json", "truncated"),
    # an object,
    "jsonl-array": Bad("jsonl", b"[1, 2]", "not_an_object", "expected an object"),
    # and no column of it an object again.
    "jsonl-nested": Bad("jsonl", jsonl(ad={"id": 1}), "bad_value", "'ad'"),
    # Text is UTF-8.
    "csv-utf8": Bad("csv", csv(ad="@").replace(b"@", b"\xff"), "invalid_utf8", "'ad'"),
    "jsonl-utf8": Bad("jsonl", jsonl(ad="@").replace(b"@", b"\xff"), "invalid_utf8", ""),
    # A line is at most 1 MiB long; of a longer one the beginning is kept.
    "csv-huge": Bad("csv", csv(ad="@").replace(b"@", HUGE), "line_too_long", "above the limit"),
    "jsonl-huge": Bad("jsonl", jsonl(ad="@").replace(b"@", HUGE), "line_too_long", "the limit"),
}
STRICT = {(bad.reason, bad.format): case for case, bad in BAD_ROWS.items()}.values()
"""One of each reason in each format."""
bad_rows = pytest.mark.parametrize("case", BAD_ROWS)


def name_of(case):
    return f"{case}.{BAD_ROWS[case].format}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the spec, and in ``logs`` every bad row in a log of its own."""
    place = tmp_path_factory.mktemp("bad")
    (place / "spec.toml").write_text(SPEC)
    (place / "logs").mkdir()
    for case, bad in BAD_ROWS.items():
        (place / "logs" / name_of(case)).write_bytes(bad.log())
    (place / "logs" / "good.csv.gz").write_bytes(gzip.compress(log_of("csv", csv(), csv())))
    (place / "logs" / "good.tsv.zst").write_bytes(zstandard.compress(log_of("tsv", tsv())))
    (place / "logs" / "notes.md").write_text("no data")
    return place


@pytest.fixture(scope="module")
def folder_run(place):
    """The figures of one replay of the whole folder."""
    done = run_clicktide(
        "replay", "logs", "--spec", "spec.toml", "--rejects", "bad.jsonl", "--json", cwd=place
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_a_folder_of_every_format_is_learned_whole_and_the_counts_add_up(folder_run):
    good = 3  # in the two compressed logs
    assert folder_run["events"] == good + len(BAD_ROWS) * (BEFORE + AFTER)
    assert folder_run["rejected"] == len(BAD_ROWS)
    assert folder_run["rejected_by_reason"] == Counter(bad.reason for bad in BAD_ROWS.values())
    assert folder_run["error"] is None


@bad_rows
def test_a_bad_row_is_kept_with_its_place_reason_and_every_byte(case, place, folder_run):
    bad = BAD_ROWS[case]
    rejects = map(json.loads, (place / "bad.jsonl").read_text().splitlines())
    (kept,) = (reject for reject in rejects if reject["file"] == name_of(case))
    assert (kept["reason"], kept["line"]) == (bad.reason, bad.line)
    assert bad.said in kept["detail"]
    raw = kept["raw"].encode() if "raw" in kept else b64decode(kept["raw_base64"])
    if bad.format == "parquet":
        assert json.loads(raw) == json.loads(bad.row)
    else:
        assert raw == bad.row[:KEPT]


@pytest.mark.parametrize("case", STRICT)
def test_strict_stops_at_the_bad_row_and_names_file_line_and_fix(case, place):
    bad, log = BAD_ROWS[case], f"logs/{name_of(case)}"
    done = run_clicktide("replay", log, *SPEC_GIVEN, "--strict", "--json", cwd=place)
    assert done.returncode in (1, 2)  # 1 where rows before it were learned already
    where = f", line {bad.line}" if bad.line else ""
    for said in (f"logs/{name_of(case)}{where}:", bad.said, bad.reason, "Fix:"):
        assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_strict_tells_what_was_learned_before_the_bad_row(clicktide, tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "log.csv").write_bytes(log_of("csv", *[csv()] * 40_000, csv(click="x"), csv()))
    out, said = clicktide("replay", "log.csv", "--spec", "spec.toml", "--strict", "--json", code=1)
    figures = json.loads(out)
    assert "log.csv, line 40002:" in figures["error"]
    assert "Fix:" in said and "Traceback" not in said
    assert 0 < figures["events"] <= 40_000
    assert figures["rejected"] == 0


# Logs that cannot be used at all

SHORT = log_of("csv", csv())
FEWER = {name: value for name, value in GOOD.items() if name != "views"}
FEWER_CSV = b"\n".join([",".join(FEWER).encode(), b"1,1,1700000000,shoes", b""])
SPEC_GIVEN = ("--spec", "spec.toml")


@dataclass(frozen=True)
class Refused:
    """Files, the log named, what is said of it, and what else is on the command line."""

    files: Mapping[str, bytes]
    log: str
    said: tuple[str, ...]
    options: tuple[str, ...] = SPEC_GIVEN


def log(name, data, *said):
    """A log that cannot be used; its name is said."""
    return Refused({name: data}, name, (name, *said))


def asked(*options, said):
    """A good log, and options that cannot be met."""
    return Refused({"log.csv": SHORT}, "log.csv", said, options)


REFUSED = {
    # Every column that the spec names is in the log, whatever its format.
    "csv-columns": log("log.csv", FEWER_CSV, "no column 'views'", "'ad'"),
    "tsv-columns": log("log.tsv", FEWER_CSV.replace(b",", b"\t"), "no column 'views'"),
    "jsonl-columns": log("log.jsonl", json.dumps(FEWER).encode(), "no column 'views'"),
    "parquet-columns": log("log.parquet", parquet(FEWER), "no column 'views'"),
    # One column only means that the separator is another.
    "separator": log("log.csv", SHORT.replace(b",", b";"), "separated by ';'"),
    # Two columns of one name leave open which is meant.
    "twice": log("log.csv", SHORT.replace(b"views", b"views,ad"), "'ad'", "more than once"),
    # The header is text.
    "header-utf8": log("log.csv", b"click,\xff\n1,2\n", "line 1", "not UTF-8"),
    # An empty file has no rows,
    "empty-csv": log("log.csv", b"", "empty"),
    "empty-parquet": log("log.parquet", b"", "empty"),
    # nor has one of nothing compressed,
    "empty-gzip": log("log.csv.gz", gzip.compress(b""), "empty"),
    # or a header alone.
    "header-csv": log("log.csv", log_of("csv"), "no rows"),
    "header-parquet": log("log.parquet", NO_ROWS.getvalue(), "no rows"),
    # What a name says is what the file is.
    "not-gzip": log("log.csv.gz", SHORT, "neither gzip nor zstd"),
    "cut-parquet": log("log.parquet", parquet(GOOD)[:-20], "damaged"),
    # A folder has data in it,
    "no-data": Refused({"logs/notes.md": b"x", "logs/.csv": b"x"}, "logs", ("logs", "no data")),
    # and not in empty files only.
    "no-rows": Refused({"logs/a.csv": b"", "logs/b.csv": b""}, "logs", ("a.csv", "empty")),
    # A spec is one of ours, or a file;
    "spec-name": asked("--spec", "avazu", said=("avazu", "avazu20k")),
    "spec-file": asked("--spec", "no.toml", said=("no.toml",)),
    # it is TOML to its end.
    "spec-toml": Refused(
        {"x.toml": b'name = "x'}, "log.csv", ("x.toml", "line 1"), ("--spec", "x.toml")
    ),
    # A change to it is KEY=VALUE,
    "set-shape": asked(*SPEC_GIVEN, "--set", "hash.bits", said=("hash.bits",)),
    # of a key that there is,
    "set-key": asked(*SPEC_GIVEN, "--set", "hash.bit=4", said=("hash.bit", "bits")),
    # with a value of its type.
    "set-type": asked(*SPEC_GIVEN, "--set", "hash.bits=many", said=("hash.bits", "many")),
}
refused = pytest.mark.parametrize("case", REFUSED)


@refused
def test_what_cannot_be_used_is_one_error_with_its_name_and_a_fix(case, tmp_path):
    bad = REFUSED[case]
    for name, data in {"spec.toml": SPEC.encode(), **bad.files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    done = run_clicktide("replay", bad.log, *bad.options, "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    for said in (*bad.said, "error:", "Fix:"):
        assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--rejects", "--save", "--plot"])
def test_what_cannot_be_written_is_told_before_anything_is_read(option, tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "log.csv").write_bytes(SHORT)
    with standard_input(tmp_path / "log.csv"):
        done = run_clicktide("replay", "-", *SPEC_GIVEN, option, "log.csv/out.png", cwd=tmp_path)
        assert os.lseek(0, 0, os.SEEK_CUR) == 0
    assert done.returncode == 2
    assert "log.csv/out.png" in done.stderr and "Fix:" in done.stderr


def as_one_without_privileges():
    """Make permission bits hold for root too: the program to come cannot override them."""
    cannot_override, cannot_search, drop_for_good = 1, 2, 24
    for capability in (cannot_override, cannot_search):
        if os.geteuid() == 0 and ctypes.CDLL(None).prctl(drop_for_good, capability, 0, 0, 0):
            raise PermissionError("root's privileges cannot be dropped here")


@pytest.mark.parametrize("closed", ["logs/log.csv", "logs"])
def test_a_log_that_may_not_be_read_is_told(closed, tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "log.csv").write_bytes(SHORT)
    (tmp_path / closed).chmod(0)
    try:
        done = clicktide_process(
            "replay", closed, *SPEC_GIVEN, cwd=tmp_path, preexec_fn=as_one_without_privileges
        )
    except subprocess.SubprocessError as error:
        pytest.skip(f"permissions do not bind root, and it stays root: {error}")
    finally:
        (tmp_path / closed).chmod(0o700)
    assert done.returncode == 2
    assert f"{closed}: no permission" in done.stderr and "Fix:" in done.stderr


# Damage further on

ROWS = 20_000


@pytest.fixture(scope="module")
def long_log():
    rng = np.random.default_rng(0)
    values = zip(rng.integers(2, size=ROWS), rng.integers(10**6, size=ROWS), strict=True)
    return log_of("csv", *(csv(click=str(click), ad=str(ad)) for click, ad in values))


def cut(data):
    return data[: len(data) // 2]


def overwritten(data):
    return cut(data) + bytes(64) + data[len(data) // 2 + 64 :]


def gzipped(data):
    return gzip.compress(data, mtime=0)  # what the damage makes of it is the same every time


def gunzip(data):
    return zlib.decompressobj(wbits=31).decompress(data)


def unzstd(data):
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


DAMAGE = {
    # A copy that was broken off: all whole lines before its end are learned.
    "cut.csv.gz": (gzipped, cut, gunzip, "cut off"),
    "cut.csv.zst": (zstandard.compress, cut, unzstd, "cut off"),
    # One that was written over in its midst: what is before that can be read.
    "bad.csv.gz": (gzipped, overwritten, None, "damaged"),
    "bad.csv.zst": (zstandard.compress, overwritten, None, "damaged"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_could_be_read_of_a_damaged_log_is_learned_and_saved_and_the_damage_told(
    name, clicktide, long_log, tmp_path
):
    compress, damage, decompress, said = DAMAGE[name]
    (tmp_path / "spec.toml").write_text(SPEC.replace('weight = "w"', ""))
    (tmp_path / name).write_bytes(damage(compress(long_log)))
    out, stderr = clicktide("replay", name, *SPEC_GIVEN, "--json", "--save", "model", code=1)
    figures = json.loads(out)
    assert name in figures["error"] and said in figures["error"]
    assert "Fix:" in figures["error"] and "Traceback" not in stderr
    assert 0 < figures["events"] < ROWS
    assert load_snapshot(tmp_path / "model").progress.overall.events == figures["events"]
    if decompress:
        whole = decompress(cut(compress(long_log))).count(b"\n") - 1
        assert (figures["events"], figures["rejected"]) == (whole, 0)


# Bounds, and standard input


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def peak_mb(place, log):
    """Figures of a replay and its peak memory, asked of a small parent: a child's begins there."""
    command = [sys.executable, "-m", "clicktide", "replay", log, *SPEC_GIVEN, "--json"]
    said = subprocess.check_output([sys.executable, "-c", PEAK, *command], cwd=place, text=True)
    figures, peak = said.splitlines()
    return json.loads(figures), float(peak)


def test_fields_of_ten_megabytes_are_rejected_without_holding_them(tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC)
    for size, folder in ((10_000_000, "huge"), (5, "good")):
        (tmp_path / folder).mkdir()
        for format, row in (("csv", csv(ad="x" * size)), ("jsonl", jsonl(ad="x" * size))):
            (tmp_path / folder / f"log.{format}").write_bytes(log_of(format, *[row] * 5))
    (tmp_path / "huge" / "z.csv").write_bytes(SHORT)
    plain, without = peak_mb(tmp_path, "good")
    figures, with_huge = peak_mb(tmp_path, "huge")
    assert (plain["events"], figures["events"]) == (10, 1)
    assert figures["rejected_by_reason"] == {"line_too_long": 10}
    assert with_huge < without + 16  # of the 100 that the fields have


def test_standard_input_of_every_text_format_learns_the_same(clicktide, tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC)
    ads = ["shoes", "boats", "cars", "shoes"] * 25
    piped = {
        "csv": log_of("csv", *(csv(ad=ad) for ad in ads), b"x"),
        "tsv": log_of("tsv", *(tsv(ad=ad) for ad in ads), b"x"),
        "jsonl": log_of("jsonl", *(jsonl(ad=ad) for ad in ads), b"x"),
    }
    found = {}
    for format, data in piped.items():
        out, _ = clicktide("replay", "-", *SPEC_GIVEN, "--rejects", format, "--json", stdin=data)
        reject = json.loads((tmp_path / format).read_text())
        assert (reject["file"], reject["raw"]) == ("-", "x")
        assert reject["line"] == len(ads) + (1 if format == "jsonl" else 2)
        figures = json.loads(out)
        assert (figures["events"], figures["rejected"]) == (len(ads), 1)
        found[format] = figures["log_loss"]
    assert len(set(found.values())) == 1, found
