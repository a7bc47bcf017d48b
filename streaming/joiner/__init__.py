"""The impression–click joiner: a pure state machine; records in, instructions out.

**What comes out.** t is an impression's event time, c a click's, J, L, O are ``join_window_s``,
``late_window_s`` and ``out_of_order_s``. A topic's time is what its trusted events have reached
(:mod:`.topic`), its watermark that less O, and w(x) is the watermark of x's own topic just before
x. W is the lower of the two watermarks of a partition.

- Impression: ``too_late`` if t + J < w; ``duplicate_impression`` if its id was here; else an
  example when t + J < W, in the order (t, offset).
- Click: ``too_late`` if c + J + L + O < w; ``duplicate_click`` if the same kind of the same
  impression came within that span, or has been joined; else it joins its impression if
  t - O <= c <= t + J + L, w(click) <= t + J + L and w(impression) <= c + J; else it is an
  ``orphan_click`` once the impressions' watermark is past c + J. It is on time if c <= t + J and
  w(click) <= t + J; else it is a late click and comes out as a correction, after its example.
  A dismissal is a strong negative: label 0 with ``dismiss_timestamp``, unless there is a click.
- ``far_future``, ``wrong_topic`` and the reasons of :data:`features.events.REASONS`: dead letters.

**Why the order of reading does not matter.** Each condition above compares two records with
watermarks of *their own topics at their own offsets*: functions of the log, not of how the two
topics were interleaved. When t + J < W, every click that can be on time has been read (w(click)
<= t + J < W), and so has every impression that comes before it in (t, offset) (later ones are
too late). So examples, their labels and their order are a function of the two logs, for **every**
interleaving of a partition's topics; corrections come in the order of their clicks' times.

**Idle topics.** ``Idle(topic, partition)`` is the caller's word that all of it is read: its time
is lifted to the other topic's (if that has none yet, its first events begin it). A lift is the one
decision that is not in the log, so it is
committed: (offset, time). It moves *when* an example comes out, and its label only if a click
arrives more than O behind what it was lifted to (then as a correction). So crash runs equal
the unbroken run given the same lifts, and equal any run if no click comes that late. A quiet
*system* keeps its last J + O pending until events or heartbeats come; two heartbeats
(:class:`features.events.Heartbeat`) per topic and partition end a finite stream.

**Why a crash loses and repeats nothing.** The committed offset is that of the oldest record that
can still matter, or if it was held (:mod:`.held_events`), of the first held with it, with the
topic's time before it: the replay repeats every w. Impressions matter until W > t + J + L (with
clicks: + J), clicks until W > c + J + L + O, which outlives their impressions. Committed too: W (an
example was out if t + J < W), the impressions' watermark (an orphan was out), each topic's read
position (a rejection was out if before it; a correction, if its click is before it and its example
was out), lifts, last click and counts. All of it is one transaction with the output, so "was out"
is exact; until both topics are re-read, a partition gives out and commits nothing. It holds while
an id names one impression whose copies carry one event time, and the windows do not change
(refused).

**Early labels.** Beside its example each impression comes out sooner for the trainer, by the same
rule on a shorter window (:mod:`.early_labels`), in the same transaction, exactly once as well.

**Views and clicks.** With ``counting=True`` it also gives ``Viewed`` when an impression is accepted
and ``Clicked`` when its first click (not dismissal) joins it: each once, over crashes too. Both are
functions of the two logs as the examples are, but where a ``Clicked`` stands among the rest
follows the interleaving. A replay repeats none of events that were decided before the commit.

**Stall guard** (:mod:`.stall_guard`). An idle clicks topic is not lifted over a silence in which
clicks should have come: no label leaves, ``Stalled`` is said, and real clicks move time again.
A heartbeat in the clicks topic is its publisher's word and is trusted. Clicks that the outage
swallowed for good leave negatives behind: no joiner can know them.

**Memory.** At most ``max_pending`` impressions and as many clicks per partition, an impression at
some 320 bytes and its event's own, a click at some 700 in all (measured); at the bound ``Pause``
asks to stop reading (what the caller has fetched it may still give), and ``Overfull`` says that
the bound cannot hold the windows of this traffic.

**Latency.** Between two records of an idle topic, lifts follow each other freely; after each record
or lift that decides on held events, the next lift must move time by 1/80 of all windows together
(or wait for that), which keeps the recorded lifts within a commit's 4 KiB.
"""

from streaming.joiner.all_partitions import Joiner
from streaming.joiner.records import (
    CLICKS,
    IMPRESSIONS,
    Clicked,
    CommitUpTo,
    DeadLetter,
    EmitExample,
    Idle,
    Instruction,
    Overfull,
    Pause,
    Record,
    Resumed,
    Stalled,
    TopicKind,
    Unpause,
    Viewed,
)
from streaming.joiner.settings import JoinerSettings

__all__ = [
    "CLICKS",
    "IMPRESSIONS",
    "Clicked",
    "CommitUpTo",
    "DeadLetter",
    "EmitExample",
    "Idle",
    "Instruction",
    "Joiner",
    "JoinerSettings",
    "Overfull",
    "Pause",
    "Record",
    "Resumed",
    "Stalled",
    "TopicKind",
    "Unpause",
    "Viewed",
]
