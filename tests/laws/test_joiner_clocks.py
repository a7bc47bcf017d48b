"""Law: clocks that are wrong move no time for others, and a silence costs no event."""

from collections import Counter
from random import Random

import pytest
from joiner_runs import START, TOPICS, event, read_in_order

from streaming.joiner import CLICKS, IMPRESSIONS, DeadLetter, EmitExample, TopicKind, Viewed

HOURS_2, YEARS_10 = 7_200_000, 315_360_000_000


def traffic(rng, size, wrong, skews, burst, parts):
    """10 good impressions a second, among them bursts of clocks that are off, by share of all."""
    sent = []
    now, n = START, 0
    while n < size:
        if rng.random() < wrong / (wrong + burst * (1 - wrong)):
            skew = rng.choice(skews)
            for i in range(burst):
                partition = rng.randrange(parts) if burst == 1 else len(sent) % parts
                sent.append((partition, f"wrong-{len(sent)}", now + skew + i))
        else:
            now += rng.randrange(200)
            sent.append((n % parts, f"good-{n}", now))
            n += 1
    return sent


def joined(sent, crash=None):
    """Join impressions, with one click in 20; count outcomes of good ones, note order."""
    rng, records = Random(1), list[tuple[TopicKind, int, bytes]]()
    for partition, id, ts in sent:
        records.append((IMPRESSIONS, partition, event("impression", ts, impression_id=id)))
        if rng.random() < 0.05:
            records.append((CLICKS, partition, event("click", ts + 500, impression_id=id)))
    beat = event("heartbeat", max(ts for _, id, ts in sent if id[0] == "g") + 2_700_000)
    records += [(topic, p, beat) for p in {p for p, _, _ in sent} for topic in TOPICS * 2]
    return outcomes(
        read_in_order(
            records,
            crash or rng,
            idle=lambda number: [] if number % 50 else [CLICKS],
            crashes=0.01 if crash else 0,
        )
    )


def outcomes(out):
    counts, order = Counter[str](), list[str]()
    for it in out:
        if isinstance(it, DeadLetter) and b'"good' in it.raw:
            counts[it.reason] += 1
        elif isinstance(it, EmitExample) and not it.early and it.impression_id.startswith("good"):
            counts["correction" if it.correction else f"label {it.label}"] += 1
            order.append(it.impression_id)
        elif isinstance(it, Viewed) and it.impression.impression_id.startswith("good"):
            counts["viewed"] += 1
    return counts, order


@pytest.mark.parametrize("burst", [1, 2, 50])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
@pytest.mark.parametrize(
    "skews",
    [[HOURS_2], [YEARS_10], [HOURS_2, YEARS_10, 900_000], [-HOURS_2], [-HOURS_2, HOURS_2]],
    ids=["2 h fast", "10 y fast", "several fast", "slow", "slow and fast"],
)
def test_a_minority_of_wrong_clocks_costs_others_nothing(skews, share, burst):
    counts, _ = joined(traffic(Random(7 + burst), 1_500, share, skews, burst, 2))
    clicked = counts["label 1"]
    assert counts["viewed"] == clicked + counts["label 0"] == 1_500, counts
    assert clicked > 50 and not counts["correction"]


@pytest.mark.parametrize("good_first", [0, 1, 14])
@pytest.mark.parametrize("skew", [HOURS_2, YEARS_10, 900_000])
def test_a_burst_at_the_very_start_costs_others_nothing(good_first, skew):
    sent = [(0, f"good-{n}", START + 100 * n) for n in range(300)]
    burst = [(0, f"wrong-{n}", START + skew + n) for n in range(50)]
    counts, _ = joined([*sent[:good_first], *burst, *sent[good_first:]])
    assert counts["label 0"] + counts["label 1"] == 300, counts


@pytest.mark.parametrize("skew", [HOURS_2, 1_800_000])
@pytest.mark.parametrize("burst", [1, 50])
def test_with_wrong_clocks_a_crash_changes_nothing(burst, skew):
    sent = traffic(Random(3), 1_000, 0.2, [skew], burst, 2)
    unbroken = joined(sent)
    for seed in range(3):
        assert joined(sent, Random(seed)) == unbroken


@pytest.mark.parametrize("wrong", [[], [HOURS_2], [YEARS_10], [-HOURS_2]])
@pytest.mark.parametrize("gap_s", [90, 3_000, 20_000, 1_000_000])
def test_after_a_silence_time_moves_on_by_itself_and_no_event_is_lost(gap_s, wrong):
    rng = Random(5)
    before = traffic(rng, 300, 0.05 if wrong else 0, wrong, 1, 1)
    gap = 1000 * gap_s
    after = [
        (p, f"{id}-after", ts + gap)
        for p, id, ts in traffic(rng, 500, 0.05 if wrong else 0, wrong, 1, 1)
    ]
    counts, order = joined([*before, *after])
    assert counts["label 0"] + counts["label 1"] == 800, counts
    assert order.index("good-0-after") > order.index("good-299")
