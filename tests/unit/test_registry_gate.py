"""What the gate lets through, and where a rollback goes: pure choices, case by case."""

import numpy as np
import pytest
from example_log import example_line, fill
from stream_runs import stream_log

from learning.metrics import Tally
from monitoring.registry.actions import alarm_target
from monitoring.registry.gate import first_offsets_after, judge
from monitoring.registry.settings import GateSettings
from monitoring.registry.versions import Version, beyond_retention, rollback_target
from streaming.settings import EXAMPLES

T0 = 1_736_121_600_000

SETTINGS = GateSettings(min_examples=1_000, min_clicks=20)
LABELS = (np.random.default_rng(3).random(20_000) < 0.05).astype(float)


def figures(rate=0.05, noise=0.0, labels=LABELS):
    """Of a model that predicts a rate, with or without noise around it."""
    logits = np.full(len(labels), np.log(rate / (1 - rate)))
    logits += noise * np.random.default_rng(1).standard_normal(len(labels))
    tally = Tally()
    tally.add(logits, labels)
    return tally.figures()


@pytest.mark.parametrize(
    ("case", "candidate", "champion", "usual", "state", "word"),
    [
        ("as good as the champion", figures(), figures(), 0.05, "passed", "on 20,000 examples"),
        ("the first, and sane", figures(), None, None, "passed", "calibration"),
        ("the first, but worse than a constant", figures(0.05, 1.5), None, None, "refused", "entr"),
        ("predicts twice the clicks", figures(0.10), figures(), 0.05, "refused", "calibration"),
        ("predicts half the clicks", figures(0.025), figures(), 0.05, "refused", "calibration"),
        ("noisy at the right mean", figures(0.045, 0.6), figures(), 0.05, "refused", "entropy"),
        ("off, but less than the champion", figures(0.06), figures(0.08), 0.05, "passed", "on"),
        ("few examples", figures(labels=LABELS[:900]), figures(), 0.05, "pending", "needed 1,000"),
        ("few clicks", figures(labels=LABELS[:1000] * 0), figures(), 0.05, "pending", "0 clicks"),
        ("labels turned over", figures(labels=1 - LABELS), figures(), 0.05, "held", "labels right"),
        ("a tenth of the clicks", figures(), figures(), 0.5, "held", "labels right"),
    ],
)
def test_cases_of_the_gate(case, candidate, champion, usual, state, word):
    verdict = judge(candidate, champion, SETTINGS, usual)
    assert verdict.state == state, (case, verdict)
    assert word in " ".join(verdict.reasons)
    assert verdict.passed == (state == "passed")


def test_chance_alone_refuses_no_candidate():
    """A calibrated candidate on few clicks: its interval is wide, and reaches the bounds."""
    refused = 0
    for seed in range(200):
        labels = (np.random.default_rng(seed).random(1_000) < 0.05).astype(float)
        refused += judge(figures(labels=labels), None, SETTINGS).state == "refused"
    assert refused <= 10


def version(number, at=0, time=0, aliases=()):
    return Version(
        number=number, created_ms=number, champion_at_ms=at, event_time=time, aliases=aliases
    )


def test_a_rollback_goes_to_the_champion_before():
    versions = [version(1, 10), version(2, 0), version(3, 30), version(4, 40, 0, ("champion",))]
    assert rollback_target(versions).number == 3
    versions[0] = version(1, 10, 0, ("previous",))
    assert rollback_target(versions).number == 1
    assert rollback_target(versions[3:]) is None


def test_an_alarm_goes_back_to_before_the_drift():
    versions = [version(1, 1, 100), version(2, 2, 200), version(3, 3, 300, ("champion",))]
    assert alarm_target(250, versions).number == 2
    assert alarm_target(200, versions).number == 1
    assert alarm_target(50, versions) is None  # none is that old
    assert alarm_target(301, versions) is None  # the champion knows nothing of it


def test_retention_keeps_newest_champions_and_whatever_has_an_alias():
    versions = [version(n, at=n if n % 2 else 0) for n in range(1, 21)]
    versions[0] = version(1, aliases=("keep",))
    gone = {v.number for v in beyond_retention(versions, keep_versions=4, keep_champions=3)}
    assert set(range(1, 21)) - gone == {1, 15, 17, 18, 19, 20}


def example(timestamp, correction=False):
    late = {"correction": True} if correction else {}
    return example_line(f"i{timestamp}", timestamp, None, int(correction), **late)


@pytest.mark.parametrize(
    ("time", "offset"), [(0, 0), (T0 - 1, 0), (T0, 1), (T0 + 29, 4), (T0 + 30, 5), (T0 + 99, 6)]
)
def test_examples_that_a_version_is_judged_on_begin_after_its_newest_event(time, offset):
    """Corrections between them tell nothing of the time."""
    with stream_log(":memory:") as log:
        records = [
            b"{broken\n" + example(T0),
            example(T0 + 10) + b"\n" + example(T0 + 20),
            example(T0 - 500, correction=True),
            example(T0 - 400, correction=True) + b"\n" + example(T0 + 25),
            example(T0 + 30),
            example(T0 + 40),
        ]
        fill(log, [EXAMPLES], records, 1)
        assert first_offsets_after(log, time) == [offset]
