"""``clicktide report --alarms``: the detectors of the stream over any log."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from clicktide.cli import app

T0 = 1_767_600_000_000
ROWS = 120_000


@pytest.fixture(scope="module")
def log():
    """A day in which the clicks of one campaign fall by half from the middle on."""
    rng = np.random.default_rng(3)
    p = rng.uniform(0.02, 0.2, ROWS)
    campaign = rng.integers(0, 8, ROWS)
    off = (campaign == 5) & (np.arange(ROWS) >= ROWS // 2)
    return pa.table(
        {
            "t": T0 + np.arange(ROWS) * 720,
            "campaign": [f"c{i}" for i in campaign],
            "p": p,
            "y": (rng.random(ROWS) < np.where(off, p / 2, p)).astype(int),
        }
    )


def report(table, folder):
    pq.write_table(table, folder / "log.parquet")
    names = ("--label", "y", "--prediction", "p", "--time", "t", "--slices", "campaign")
    files = ("--from", str(folder / "log.parquet"), "--out", str(folder / "r.html"))
    result = CliRunner().invoke(app, ["report", *files, *names, "--alarms", "--json"])
    return json.loads(result.stdout)


def test_a_shift_is_found_located_dated_and_priced(log, tmp_path):
    found = report(log, tmp_path)
    [alarm] = found["alarms"]
    assert (alarm["what"], alarm["field"], alarm["value"]) == ("calibration", "campaign", "c5")
    begin = T0 + ROWS // 2 * 720
    assert abs(alarm["since_ms"] - begin) < 2 * 3_600_000
    p, y, at = (log[name].to_numpy() for name in ("p", "y", "campaign"))
    rows = (at == "c5") & (log["t"].to_numpy() >= begin)
    assert alarm["clicks_over_promised"] == pytest.approx((p - y)[rows].sum(), rel=0.25)
    t = log["t"].to_numpy()
    promised = p[(t >= alarm["since_ms"]) & (t <= alarm["detected_ms"])].sum()
    assert alarm["share"] == pytest.approx((alarm["expected_clicks"] - alarm["clicks"]) / promised)
    assert alarm["severity"] == "warning"
    assert 'id="alarm-0"' in (tmp_path / "r.html").read_text()
    assert found["verdict"]["state"] == "over" and "campaign c5" in found["verdict"]["headline"]


def test_a_log_out_of_order_says_why_it_has_no_alarms(log, tmp_path):
    found = report(log.slice(0, 2000).take(pa.array(np.arange(2000)[::-1].copy())), tmp_path)
    assert found["alarms"] == []
    assert any("not in order of time" in note for note in found["notes"])
