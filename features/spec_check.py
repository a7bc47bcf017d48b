"""What makes a feature spec unusable though its keys and types are right.

Each check is a small generator of problems; :func:`first_problem` runs them in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from features.spec import LearnerSpec, Rates, Spec
from features.spec_check_counters import COUNTER_CHECKS
from features.spec_check_fields import FIELD_CHECKS, Check, field_names, repeats
from features.spec_lines import KeyPath
from features.spec_problem import Problem, suggest

__all__ = ["first_problem"]

MAX_EXPERTS = 16
MIN_MEMORY, MAX_MEMORY = 100, 10**9


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
    checks = (*FIELD_CHECKS, *COUNTER_CHECKS, *_CHECKS)
    return next((problem for check in checks for problem in check(spec)), None)


# The crosses


def _check_named_crosses(spec: Spec) -> Iterator[Problem]:
    fields = field_names(spec)
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


def _check_repeated_crosses(spec: Spec) -> Iterator[Problem]:
    named = spec.crosses.named
    for i in repeats([" × ".join(sorted(cross)) for cross in named]):
        yield Problem(
            ("crosses", "named", i),
            f"the cross {' × '.join(named[i])} is given twice",
            "remove one",
        )


def _check_crossed_groups(spec: Spec) -> Iterator[Problem]:
    groups = {field.group for field in spec.fields if field.group}
    for i, pair in enumerate(spec.crosses.groups):
        for j, name in enumerate(pair):
            if name not in groups:
                yield Problem(
                    ("crosses", "groups", i, j),
                    f"no group is named `{name}`",
                    suggest(name, groups) if groups else f'set group = "{name}" on its fields',
                )


# The hash and the learner


def _check_hash(spec: Spec) -> Iterator[Problem]:
    for key in ("bits", "cross_bits"):
        bits = getattr(spec.hash, key)
        if not 4 <= bits <= 30:
            yield Problem(("hash", key), f"{bits} bits cannot be used", "4 to 30")
    if not 0 <= spec.hash.seed < 2**64:
        yield Problem(("hash", "seed"), f"{spec.hash.seed} is not a seed", "0 to 2**64 - 1")


def _rates_of(learner: LearnerSpec) -> Iterator[tuple[KeyPath, Rates]]:
    yield ("learner", "fields"), learner.fields
    yield ("learner", "crosses"), learner.crosses


def _check_rates(spec: Spec) -> Iterator[Problem]:
    for at, rates in _rates_of(spec.learner):
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


def _check_idle_rates(spec: Spec) -> Iterator[Problem]:
    for key in ("fields", "crosses"):
        if spec.learner.kind == "stack" and getattr(spec.learner, key) != Rates():
            yield Problem(
                ("learner", key),
                f'`learner.{key}` is not read: the rates of kind "stack" are fixed',
                'set learner.kind = "single", or leave it out',
            )


_CHECKS: tuple[Check, ...] = (
    _check_named_crosses,
    _check_repeated_crosses,
    _check_crossed_groups,
    _check_hash,
    _check_rates,
    _check_idle_rates,
)
