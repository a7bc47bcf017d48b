"""`clicktide demo`, which is `make run`: the whole loop, twice in a row, to its report."""

import json

import pytest
from live_stream import clicktide

pytestmark = pytest.mark.timeout(500)


def test_the_loop_closes_and_again_over_its_own_folder_but_not_over_another(tmp_path):
    folder = tmp_path / "a path" / "demo"
    for _ in range(2):
        done = clicktide("demo", "--dir", folder, "--events", "40000")
        assert done.returncode == 0, done.stderr
        report = json.loads((folder / "report.json").read_text())
        assert done.stdout.splitlines()[-1] == str(folder / "report.html")
        served = report["total"]["count"]
        assert 0.9 * 24_000 <= served <= 24_000  # what the API predicted, not the history
        assert report["windows"] and report["slices"]
    done = clicktide("register", "--once", "--dir", folder)
    assert "version 2 of clicktide" in done.stderr
    kept = [*folder.glob("mlartifacts/*/artifacts/versions/*/drift_report.html")]
    assert 1 <= len(kept) <= 2  # there may have been nothing to report at the first
    assert all(page.read_bytes().startswith(b"<!doctype html>") for page in kept)
    taken = tmp_path / "mine"
    taken.mkdir()
    (taken / "file").write_text("keep")
    refused = clicktide("demo", "--dir", taken)
    assert refused.returncode == 2 and "no earlier demo" in refused.stderr
    assert (taken / "file").read_text() == "keep"
