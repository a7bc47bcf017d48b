"""Checks of a report: parsed, sure, written for CI; and reports of data frames."""

from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from command import invoke

from clicktide.cli import app
from features.errors import ClicktideError
from monitoring.report import calibration_report
from monitoring.report.checks import parse_check


def frame_of(rows=20_000, off=2.0, seed=3):
    """Site s2 has so many times the clicks predicted."""
    rng = np.random.default_rng(seed)
    site, p = rng.integers(0, 5, rows), rng.uniform(0.02, 0.2, rows)
    click = rng.random(rows) < np.where(site == 2, off * p, p)
    return pd.DataFrame({"site": [f"s{i}" for i in site], "p": p, "click": click.astype(int)})


BY_SITE = {"label": "click", "prediction": "p", "slices": ["site"]}


@pytest.mark.parametrize(
    ("check", "fails"),
    [
        ("ratio<0.9,slice=site", True),
        ("ratio<0.9,slice=site=s2", True),
        ("ratio<0.9,slice=site=s1", False),
        ("ratio>1.1,slice=site", False),
        ("ratio > 0.5", True),
        ("ratio>0.95,slice=site=s1", False),  # it is 1, but that is not sure enough
        ("log_loss<1", True),
        ("auc < 0.5", False),
        ("NE>0.5,slice=site", True),
    ],
)
def test_a_check_fails_where_it_is_so(check, fails):
    report = calibration_report(frame_of(), **BY_SITE)
    (outcome,) = report.check(check)
    assert bool(outcome.faults) is fails
    if fails and check.endswith("slice=site") and "ratio" in check:
        assert [fault.split(":")[0] for fault in outcome.faults] == ["site s2"]


def test_chance_fails_no_build():
    """Of 200 slices of a calibrated log each would be beyond .9 or 1.1 by chance alone."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0.02, 0.2, 20_000)
    users = pd.DataFrame(
        {"user": rng.integers(0, 200, 20_000), "p": p, "click": rng.random(20_000) < p}
    )
    report = calibration_report(users, label="click", prediction="p", slices=["user"])
    outcomes = report.check("ratio>1.1,slice=user", "ratio<0.9,slice=user")
    assert not any(outcome.faults for outcome in outcomes)


@pytest.mark.parametrize(
    "text",
    ["ratio", "ratio>", "ratio=1", "speed>3", "ratio>1,slice=", "ratio>1.1.1", "ratio>1,site=a"],
)
def test_what_is_no_check_is_refused_with_what_is(text):
    with pytest.raises(ClicktideError, match=r"is no check. Fix: one of ratio, .*slice=FIELD"):
        parse_check(text)


def test_a_slice_that_is_not_there_is_named_with_those_that_are():
    report = calibration_report(frame_of(1000), **BY_SITE)
    with pytest.raises(ClicktideError, match=r"no slices by 'ad' \(it has: site\)"):
        report.check("ratio>1.1,slice=ad")
    with pytest.raises(ClicktideError, match="no row has site 's9'"):
        report.check("ratio>1.1,slice=site=s9")


def test_a_build_fails_and_its_system_reads_why(tmp_path):
    frame_of().to_csv(tmp_path / "log.csv", index=False)
    words = ["report", "--from", tmp_path / "log.csv", "--label", "click", "--prediction", "p"]
    words += ["--slices", "site", "--out", tmp_path / "r.html"]
    words += ["--junit", tmp_path / "ci" / "junit.xml", "--fail-if", "auc<0.5"]
    result = invoke(app, *words)
    assert result.exit_code == 0, result.output
    result = invoke(app, *words, "--fail-if", "ratio<0.9,slice=site")
    assert result.exit_code == 3
    assert "site s2: 0.48263 is below 0.9" in result.output
    suite = ElementTree.parse(tmp_path / "ci" / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    [failed] = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == "ratio<0.9,slice=site"


def test_frames_of_several_libraries_give_one_report_and_a_page():
    frame = frame_of(4000)
    one = calibration_report(frame, **BY_SITE)
    two = calibration_report(pa.Table.from_pandas(frame), **BY_SITE)
    assert one.data.total == two.data.total
    assert one.data.slices == two.data.slices
    assert one._repr_html_().startswith("<iframe")
    assert "under-predicted" in str(one)


def test_a_frame_is_refused_with_the_place_and_the_fix():
    frame = frame_of(100)
    with pytest.raises(ClicktideError, match=r"no column 'clck'. Fix: .*`click`"):
        calibration_report(frame, label="clck", prediction="p")
    frame.loc[7, "p"] = 1.5
    with pytest.raises(ClicktideError, match=r"the frame, row 7, column 'p': '1.5'"):
        calibration_report(frame, label="click", prediction="p")
