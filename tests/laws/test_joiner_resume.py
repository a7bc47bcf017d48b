"""Law: resumed at any commit, the joiner gives to the letter what it gives without a restart.

Also if wrong clocks are among the events, so that some are held at the commit, or were before it.
"""

from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st
from joiner_runs import NAMES, START, TOPICS, event, resumed

from streaming.joiner import CLICKS, IMPRESSIONS, CommitUpTo, Idle, Joiner, JoinerSettings, Record

SETTINGS = JoinerSettings(
    join_window_s=20, late_window_s=30, out_of_order_s=5, max_ahead_s=8, far_future_s=600,
    label_after_s=7, label_out_of_order_s=2,
)  # fmt: skip
SKEWS = [9_000, 30_000, 100_000, 700_000, 10_000_000]  # ms, ahead or behind
Step = Record | Idle
Commits = dict[int, list[CommitUpTo]]  # by number of the step


def random_events(rng, size, gap_ms, wrong):
    """Impressions and clicks as they arrive, with copies, reordering and clocks that are wrong."""
    sent = []

    def send(topic, ts, **more):
        skew = rng.choice([-1, 1]) * rng.choice(SKEWS) if rng.random() < wrong else 0
        value = event(NAMES[topic], ts + skew, **more)
        for _ in range(1 + (rng.random() < 0.1)):
            sent.append((ts + rng.randrange(5_000), topic, value))

    ts = START
    for n in range(size):
        ts += rng.randrange(2 * gap_ms)
        send(IMPRESSIONS, ts, impression_id=f"i{n}")
        while rng.random() < 0.5:
            id = f"i{n}" if rng.random() < 0.9 else f"none{n}"
            kind = rng.choice(["click", "click", "dismiss"])
            send(CLICKS, ts + rng.randrange(50_000), impression_id=id, kind=kind)
    beat = event("heartbeat", max(at for at, _, _ in sent) + 500_000)
    return [(topic, value) for _, topic, value in sorted(sent)] + [(t, beat) for t in TOPICS * 2]


def random_steps(rng, events):
    """Reading them in order, with words that a topic is idle."""
    idle, steps = rng.choice([0, 0.2, 0.6]), list[Step]()
    offset = dict.fromkeys(TOPICS, 0)
    for topic, value in events:
        steps.append(Record(topic, 0, offset[topic], value))
        offset[topic] += 1
        while rng.random() < idle:
            steps.append(Idle(rng.choice(TOPICS), 0))
    return steps


def run(joiner, steps, every, begin=0):
    """What each step from one on gives, and the commits after some of them."""
    joiner.assign(0)
    out, commits = list[str](), Commits()
    for n, step in enumerate(steps[begin:], begin):
        out.append(repr(joiner.step(step)))
        if n % every == 0:
            commits[n] = joiner.commits()
        joiner.validate()
    return out, commits


def replayed(commits, read):
    """A joiner resumed from a commit that has read again what had been read."""
    joiner = resumed(SETTINGS, {(c.topic, c.partition): c.metadata for c in commits}, counting=True)
    begin = {c.topic: c.offset for c in commits}
    for step in read:
        if isinstance(step, Record) and step.offset >= begin[step.topic]:
            assert joiner.step(step) == []
            joiner.validate()
    return joiner


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 40),
    gap_ms=st.sampled_from([200, 1000, 4000, 30_000]),
    wrong=st.sampled_from([0, 0.05, 0.3]),
)
@example(seed=0, size=40, gap_ms=200, wrong=0.3)
@example(seed=36, size=40, gap_ms=30_000, wrong=0.3)
@example(seed=37, size=10, gap_ms=30_000, wrong=0.05)
@example(seed=76, size=10, gap_ms=30_000, wrong=0.05)
def test_resumed_at_any_commit_the_same_comes_out(seed, size, gap_ms, wrong):
    rng = Random(seed)
    steps = random_steps(rng, random_events(rng, size, gap_ms, wrong))
    unbroken, every = Joiner(SETTINGS, counting=True), rng.randint(1, 20)
    out, commits = run(unbroken, steps, every)
    for n, commit in commits.items():
        assert all(len(of_topic.metadata) < 4096 for of_topic in commit)
        if n % 4 == 0:
            joiner = replayed(commit, steps[: n + 1])
            assert run(joiner, steps, every, begin=n + 1)[0] == out[n + 1 :]
            assert joiner.counts() == unbroken.counts()
