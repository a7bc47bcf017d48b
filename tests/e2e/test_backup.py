"""A backup of a stream, restored elsewhere, goes on to the same bits as the stream itself."""

import io
import sqlite3
import tarfile
import threading

import numpy as np
import pytest
import zstandard
from command import run_clicktide

from learning.snapshot import load_snapshot
from streaming.log import TopicPartition, open_log

SOURCE = "sim:stationary?events={}&users=500&sites=50"
SMALL = ("--set", "hash.bits=14", "--set", "hash.cross_bits=14")


def run(*arguments):
    done = run_clicktide(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def go_on(folder, events):
    """Publish up to so many events, join and learn all of them."""
    more = ("--no-end",) if events < 6_000 else ()
    run(
        "replay",
        SOURCE.format(6_000),
        "--events",
        3_000,
        "--to",
        folder / "log.db",
        "--resume",
        *more,
    )
    run("join", "--dir", folder, "--until-idle", "0")
    run("train", "--dir", folder, "--until-idle", "0", *SMALL)


def learned(folder):
    snapshot = load_snapshot(folder / "model")
    return snapshot.extra, {
        name: array.copy() for name, array in snapshot.learner.weights.arrays.items()
    }


def examples(folder):
    with open_log(str(folder / "log.db")) as log:
        ends = log.end_offsets("examples")
        return [
            [(one.key, one.value) for one in log.read(TopicPartition("examples", p), 0, 100_000)]
            for p in range(len(ends))
        ]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream") / "ads"
    go_on(folder, 3_000)
    return folder


@pytest.fixture(scope="module")
def file(begun):
    made = begun.parent / "ads.tar.zst"
    assert "files" in run("backup", made, "--dir", begun).stdout
    return made


def test_a_restored_stream_goes_on_to_the_same_bits(begun, file, tmp_path):
    restored = tmp_path / "elsewhere" / "ads"
    run("restore", file, "--dir", restored)
    before, _ = learned(restored)
    for folder in (begun, restored):
        go_on(folder, 6_000)
    about, arrays = learned(begun)
    again, same = learned(restored)
    assert about["offsets"] == again["offsets"]
    assert sum(about["offsets"]) > sum(before["offsets"]) > 0
    assert arrays.keys() == same.keys()
    for name, array in arrays.items():
        assert np.array_equal(array, same[name]), name
    assert examples(begun) == examples(restored)


def test_a_backup_is_taken_while_the_log_is_written(begun, tmp_path):
    """It has a log as it was at one moment, whatever is appended meanwhile."""
    over = threading.Event()

    def write():
        with sqlite3.connect(begun / "log.db", timeout=30) as database:
            database.execute("CREATE TABLE a (n)")
            database.execute("CREATE TABLE b (n)")
            n = 0
            while not over.is_set():
                n += 1
                with database:
                    database.execute("INSERT INTO a VALUES (?)", (n,))
                    database.execute("INSERT INTO b VALUES (?)", (n,))
            with database:
                database.execute("DROP TABLE a")
                database.execute("DROP TABLE b")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        run("backup", tmp_path / "b.tar.zst", "--dir", begun)
    finally:
        over.set()
        writer.join()
    run("restore", tmp_path / "b.tar.zst", "--dir", tmp_path / "ads")
    with sqlite3.connect(tmp_path / "ads" / "log.db") as database:
        [(of_a, of_b)] = database.execute("SELECT (SELECT max(n) FROM a), (SELECT max(n) FROM b)")
        assert of_a == of_b
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def refused(*arguments):
    done = run_clicktide(*arguments)
    assert done.returncode == 2
    assert "Fix:" in done.stderr
    return done.stderr


def test_a_damaged_backup_is_refused_whole(file, tmp_path):
    whole = file.read_bytes()
    (tmp_path / "short").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other").write_bytes(b"no backup")
    for name in ("short", "other", "missing"):
        assert name in refused("restore", tmp_path / name, "--dir", tmp_path / "ads")
        assert not (tmp_path / "ads").exists()
    unpacked = zstandard.ZstdDecompressor().stream_reader(whole).read()
    changed = unpacked.replace(b"offsets", b"offsetz")
    assert changed != unpacked
    (tmp_path / "changed").write_bytes(zstandard.compress(changed))
    assert "damaged" in refused("restore", tmp_path / "changed", "--dir", tmp_path / "ads")
    assert not (tmp_path / "ads").exists()


def test_nothing_is_written_outside_the_folder(tmp_path):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        about = tarfile.TarInfo("../outside")
        about.size = 3
        archive.addfile(about, io.BytesIO(b"bad"))
    (tmp_path / "evil").write_bytes(zstandard.compress(raw.getvalue()))
    refused("restore", tmp_path / "evil", "--dir", tmp_path / "in" / "ads")
    assert not list(tmp_path.rglob("outside"))


def test_what_is_there_is_not_replaced(begun, file, tmp_path):
    assert "not empty" in refused("restore", file, "--dir", begun)
    assert "exists already" in refused("backup", file, "--dir", begun)
    assert "no event log" in refused("backup", tmp_path / "x", "--dir", tmp_path / "nothing")
