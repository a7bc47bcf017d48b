"""What makes a feature spec unusable though its keys and types are right."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain

from features.counters.names import counter_name, feature_names, half_life_text, key_parts
from features.spec import TIME_TRANSFORMS, CounterSpec, Rates, Spec
from features.spec_check_fields import field_problems, repeats
from features.spec_lines import KeyPath
from features.spec_problem import Problem, suggest

__all__ = ["first_problem"]

MIN_HALF_LIFE_H, MAX_HALF_LIFE_H = 0.001, 100_000.0
MAX_PRIOR_VIEWS = 1e6


def first_problem(spec: Spec) -> Problem | None:
    """Return the first thing that makes a spec unusable, or None.

    Examples
    --------
    >>> from features.spec import FieldSpec, SourceSpec, Spec
    >>> first_problem(
    ...     Spec(
    ...         name="a",
    ...         source=SourceSpec(label="click"),
    ...         fields=(FieldSpec(names=("click",)),),
    ...     )
    ... ).message
    'the label `click` is also a field: the model would be told the answer'
    """
    parts = (field_problems, _counter_problems, _cross_problems, _hash_problems, _learner_problems)
    return next(chain.from_iterable(part(spec) for part in parts), None)


def _cross_problems(spec: Spec) -> Iterator[Problem]:
    fields = spec.field_names
    for i, cross in enumerate(spec.crosses.named):
        at: KeyPath = ("crosses", "named", i)
        if len(cross) not in (2, 3):
            yield Problem(
                at, f"a cross of {len(cross)} fields cannot be learned", "name two or three fields"
            )
        for j, name in enumerate(cross):
            if name not in fields:
                yield Problem((*at, j), f"no field is named `{name}`", suggest(name, fields))
        for j in repeats(cross):
            yield Problem(
                (*at, j), f"`{cross[j]}` is crossed with itself", "name two or three different ones"
            )
    named = spec.crosses.named
    for i in repeats([" × ".join(sorted(cross)) for cross in named]):
        yield Problem(
            ("crosses", "named", i),
            f"the cross {' × '.join(named[i])} is given twice",
            "remove one",
        )
    groups = {field.group for field in spec.fields if field.group}
    for i, pair in enumerate(spec.crosses.groups):
        for j, name in enumerate(pair):
            if name not in groups:
                yield Problem(
                    ("crosses", "groups", i, j),
                    f"no group is named `{name}`",
                    suggest(name, groups) if groups else f'set group = "{name}" on its fields',
                )


def _hash_problems(spec: Spec) -> Iterator[Problem]:
    for key in ("bits", "cross_bits"):
        bits = getattr(spec.hash, key)
        if not 4 <= bits <= 30:
            yield Problem(("hash", key), f"{bits} bits cannot be used", "4 to 30")
    if not 0 <= spec.hash.seed < 2**64:
        yield Problem(("hash", "seed"), f"{spec.hash.seed} is not a seed", "0 to 2**64 - 1")
    # views above some millions fade; a sweep over the tables takes as long as 1,000 events
    for key, least, most in (("admit_after", 1, 10**6), ("evict_after", 1000, 10**12)):
        count = getattr(spec.hash, key)
        if count and not least <= count <= most:
            yield Problem(("hash", key), f"{count} cannot be used", f"0, or {least:,} to {most:,}")
    if spec.hash.admit_after and spec.learner.kind == "single":
        yield Problem(
            ("hash", "admit_after"),
            '`hash.admit_after` is not read: the kind "single" counts no views',
            'set learner.kind = "stack", or leave it out',
        )


def _learner_problems(spec: Spec) -> Iterator[Problem]:
    for group, rates in (("fields", spec.learner.fields), ("crosses", spec.learner.crosses)):
        at: KeyPath = ("learner", group)
        if not 0 < rates.alpha < math.inf:
            yield Problem(
                (*at, "alpha"), f"{rates.alpha} is not a learning rate", "above 0, such as 0.05"
            )
        for key in ("beta", "l1", "l2"):
            value = getattr(rates, key)
            if not 0 <= value < math.inf:
                yield Problem((*at, key), f"{value} is not a value of {key}", "0 or above")
        if rates.beta == 0 and rates.l2 == 0:
            yield Problem(
                (*at, "l2"),
                "beta and l2 are both 0: a weight's first step would divide by 0",
                "beta = 1.0, or l2 above 0",
            )
    for key in ("fields", "crosses"):
        if spec.learner.kind == "stack" and getattr(spec.learner, key) != Rates():
            yield Problem(
                ("learner", key),
                f'`learner.{key}` is not read: the rates of kind "stack" are fixed',
                'set learner.kind = "single", or leave it out',
            )


def _counter_problems(spec: Spec) -> Iterator[Problem]:
    yield from _counter_uses(spec)
    for i, counters in enumerate(spec.counters):
        if not counters.keys:
            yield Problem(("counters", i, "keys"), "nothing is counted", 'keys = ["a_field", ...]')
        for j, key in enumerate(counters.keys):
            yield from _key_problems(spec, ("counters", i, "keys", j), key_parts(key))
    places: list[KeyPath] = [
        ("counters", i, "keys", j)
        for i, counters in enumerate(spec.counters)
        for j in range(len(counters.keys))
    ]
    keys = [key for counters in spec.counters for key in counters.keys]
    for k in repeats(["\n".join(sorted(key_parts(key))) for key in keys]):
        yield Problem(
            places[k],
            f"`{counter_name(keys[k])}` is counted twice",
            "remove one; one table may have several half-lives",
        )
    for i, counters in enumerate(spec.counters):
        yield from _half_life_problems(("counters", i, "half_lives_h"), counters)
    for i, counters in enumerate(spec.counters):
        yield from _prior_problems(("counters", i), counters)
    taken = set(spec.field_names)
    for i, counters in enumerate(spec.counters):
        for name in feature_names(counters):
            if name in taken:
                message = f"a field is named `{name}`, as this counter's feature would be"
                yield Problem(("counters", i, "keys"), message, "rename the field")


def _counter_uses(spec: Spec) -> Iterator[Problem]:
    if spec.counters and not spec.source.timestamp:
        yield Problem(
            ("counters",),
            "counters fade by event time, and the log has none",
            "name its column as source.timestamp, or leave the counters out",
        )
    if spec.source.click_delay and not spec.counters:
        yield Problem(
            ("source", "click_delay"),
            "only counters read the click delay, and there are none",
            "remove it, or add a [[counters]] table",
        )


def _key_problems(spec: Spec, at: KeyPath, parts: tuple[str, ...]) -> Iterator[Problem]:
    if len(parts) not in (1, 2) or not all(parts):
        yield Problem(at, f"{list(parts)} is no key of a counter", "a name, or a pair of names")
    if len(set(parts)) < len(parts):
        yield Problem(at, f"`{parts[0]}` is paired with itself", "name two different ones")
    transforms = {name: fields for fields in spec.fields for name in fields.names}
    columns = spec.source.columns
    for name in parts:
        field = transforms.get(name)
        if name in (spec.source.label, spec.source.truth):
            yield Problem(
                at, f"`{name}` is the answer: it cannot be a key", "take it out of the keys"
            )
        elif field is None and columns and name not in columns:
            known = [*transforms, *columns]
            yield Problem(at, f"no field or column is named `{name}`", suggest(name, known))
        elif field is not None and field.transform in ("categories", *TIME_TRANSFORMS):
            yield Problem(
                at,
                f"`{name}` has transform {field.transform!r}: it has no single value to count",
                "a field with another transform",
            )


def _half_life_problems(at: KeyPath, counters: CounterSpec) -> Iterator[Problem]:
    if not counters.half_lives_h:
        yield Problem(at, "no half-life is given", "half_lives_h = [24]")
    for j, hours in enumerate(counters.half_lives_h):
        if not MIN_HALF_LIFE_H <= hours <= MAX_HALF_LIFE_H:
            fix = f"hours, {MIN_HALF_LIFE_H} to {MAX_HALF_LIFE_H:.0f}"
            yield Problem((*at, j), f"{hours} is not a half-life", fix)
    for j in repeats([half_life_text(hours) for hours in counters.half_lives_h]):
        yield Problem((*at, j), f"{counters.half_lives_h[j]} is given twice", "remove one")


def _prior_problems(at: KeyPath, counters: CounterSpec) -> Iterator[Problem]:
    if not 0 < counters.prior_views <= MAX_PRIOR_VIEWS:
        message = f"{counters.prior_views} is not a number of prior views"
        yield Problem((*at, "prior_views"), message, f"above 0, up to {MAX_PRIOR_VIEWS:.0f}")
    rate = counters.prior_rate
    if rate is not None and not (math.isfinite(rate) and 0 < rate < 1):
        message = f"{rate} is not a click rate"
        yield Problem((*at, "prior_rate"), message, "between 0 and 1; left out: the running rate")
