"""Faults planted in simulated logs are named, dated and priced; where there is none, none is."""

import numpy as np
import pytest

from monitoring.report.attribution import faults_in
from monitoring.report.row_sample import Rows, RowSample
from monitoring.watch.scored_batch import Scored

NAMES = {"advertiser": 6, "campaign": 24, "site": 9, "device": 3}


def market(seed, rows=40_000):
    """Codes of nested and other fields, and true probabilities."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(2, 26) ** 0.7
    campaign = rng.choice(24, rows, p=share / share.sum()).astype(np.int32)
    codes = {"advertiser": campaign // 4, "campaign": campaign}
    codes |= {name: rng.integers(0, NAMES[name], rows, np.int32) for name in ("site", "device")}
    logit = -2.5 + rng.normal(0, 0.4, 24)[campaign] + rng.normal(0, 0.3, 9)[codes["site"]]
    return codes, 1 / (1 + np.exp(-logit)), rng


def log_of(codes, prediction, true, rng, weight=None):
    rows = len(true)
    words = {name: [f"{name[:2]}{i}" for i in range(NAMES[name])] for name in codes}
    click = (rng.random(rows) < true).astype(float)
    return Rows(
        np.arange(rows), prediction, click, np.full(rows, 2.0),
        np.ones(rows) if weight is None else weight, codes, words,
    )  # fmt: skip


def planted(codes, true, where, odds, start):
    inside = np.arange(len(true)) >= start
    for name, value in where.items():
        inside = inside & (codes[name] == value)
    odds = np.where(inside, odds, 1.0) * true / (1 - true)
    return odds / (1 + odds)


KINDS = {
    "a campaign loses two clicks in three half-way": ({"campaign": 2}, 0.3, 20_000),
    "a site's clicks double": ({"site": 4}, 2.0, 25_000),
    "a pair from the start": ({"advertiser": 1, "device": 1}, 2.2, 0),
    "a campaign from the start": ({"campaign": 0}, 0.5, 0),
    "an advertiser, with all its campaigns": ({"advertiser": 0}, 0.5, 20_000),
    "everywhere": ({}, 0.75, 20_000),
    "everywhere from the start": ({}, 1.3, 0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_off_is_named_at_its_level_dated_and_priced(kind):
    """Of eight seeds each; one may be named otherwise, and one interval in ten may miss."""
    where, odds, start = KINDS[kind]
    named, covered = 0, 0
    for seed in range(8):
        codes, true, rng = market(seed)
        rows = log_of(codes, true, planted(codes, true, where, odds, start), rng)
        faults = faults_in(rows)
        due = tuple((name, f"{name[:2]}{value}") for name, value in where.items())
        if [fault.slices for fault in faults] != [due]:
            continue
        (fault,) = faults
        named += 1
        assert (fault.ratio > 1) == (odds < 1)
        assert not fault.is_new
        assert fault.money == pytest.approx(2 * fault.over_promised)
        covered += (
            fault.start is None if start == 0 else fault.start_low <= start <= fault.start_high
        )
    assert named >= 7
    assert covered >= named - 1


def test_of_two_faults_each_is_told_by_its_own_rows():
    codes, true, rng = market(3)
    off = planted(codes, true, {"campaign": 1}, 0.4, 15_000)
    off = planted(codes, off, {"site": 3}, 2.0, 25_000)
    faults = faults_in(log_of(codes, true, off, rng))
    assert {fault.slices for fault in faults} == {(("campaign", "ca1"),), (("site", "si3"),)}


def test_a_fault_that_ended_is_told_once_with_its_end():
    """Of eight seeds, one may be told otherwise."""
    right = 0
    for seed in range(8):
        codes, true, rng = market(seed)
        off = planted(codes, true, {"site": 4}, 2.5, 15_000)
        off[27_000:] = true[27_000:]
        faults = faults_in(log_of(codes, true, off, rng))
        if [fault.slices for fault in faults] == [(("site", "si4"),)]:
            (fault,) = faults
            ended = fault.end is not None and abs(fault.end - 27_000) < 2_000
            right += ended and fault.start_low <= 15_000 <= fault.start_high
    assert right >= 7


def test_where_nothing_is_off_nothing_is_named():
    """At most 5 of 100 logs; of 30, that four are has a probability of 6 %, five 2 %."""
    wrong = 0
    for seed in range(30):
        codes, true, rng = market(100 + seed, 20_000)
        wrong += bool(faults_in(log_of(codes, true, true, rng)))
    assert wrong <= 4


def test_a_sample_of_the_unclicked_tells_the_same():
    codes, true, rng = market(5)
    rows = log_of(codes, true, planted(codes, true, {"campaign": 2}, 0.4, 20_000), rng)
    sample = RowSample((), np.random.default_rng(1), most=10_000)
    for at in range(0, 40_000, 5_000):
        part = slice(at, at + 5_000)
        scored = Scored.of(rows.click[part], rows.prediction[part], time_ms=rows.time[part])
        sample.add(scored, {})
    few = sample.rows(0, 40_000)
    assert len(few.time) <= 10_000
    assert few.click.sum() == rows.click.sum()
    stays = few.time
    codes = {name: column[stays] for name, column in codes.items()}
    (fault,) = faults_in(few._replace(codes=codes, words=rows.words, worth=rows.worth[stays]))
    (due,) = faults_in(rows)
    assert fault.slices == due.slices
    assert fault.ratio == pytest.approx(due.ratio, rel=0.1)


def test_a_sample_of_a_log_where_nothing_is_off_names_nothing():
    """Rows left out add chance of their own; at most 5 of 100 logs, as above."""
    wrong = 0
    for seed in range(30):
        codes, true, rng = market(200 + seed, 20_000)
        rows = log_of(codes, true, true, rng)
        stays = np.flatnonzero((rows.click == 1) | (rng.random(20_000) < 0.1))
        rows = rows._replace(
            time=rows.time[stays], prediction=rows.prediction[stays], click=rows.click[stays],
            worth=rows.worth[stays], weight=np.where(rows.click[stays] == 1, 1.0, 10.0),
            codes={name: column[stays] for name, column in codes.items()},
        )  # fmt: skip
        wrong += bool(faults_in(rows))
    assert wrong <= 4


@pytest.mark.parametrize("rate", [0.02, 0.9])
def test_a_sample_is_bounded_and_tells_the_sums_of_the_log(rate):
    """Also where most rows are clicked."""
    rng = np.random.default_rng(2)
    sample, clicks, predicted = RowSample((), np.random.default_rng(0), most=5_000), 0.0, 0.0
    for _ in range(60):
        p = rng.uniform(0.5 * rate, rate, 1_000)
        click = (rng.random(1_000) < p).astype(float)
        sample.add(Scored.of(click, p), {})
        clicks, predicted = clicks + click.sum(), predicted + p.sum()
    rows = sample.rows(0, 1_000)
    assert len(rows.time) <= 5_000
    assert rows.scale * rows.click.sum() == pytest.approx(clicks, rel=0.1)
    told = rows.scale * (rows.weight * rows.prediction).sum()
    assert told == pytest.approx(predicted, rel=0.1)
