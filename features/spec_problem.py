"""A problem found in a feature spec, and how to say what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple

from features.spec_lines import KeyPath

__all__ = ["Problem", "suggest"]


class Problem(NamedTuple):
    """What is wrong with one key, and what to write instead."""

    path: KeyPath
    message: str
    fix: str


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return the fix for a name that is not one of ``choices``.

    Examples
    --------
    >>> suggest("lable", ["label", "weight"])
    'did you mean `label`?'
    >>> suggest("x", ["label", "weight"])
    'one of: label, weight'
    """
    known = sorted(set(choices))
    near = difflib.get_close_matches(word, known, n=3)
    if near:
        return f"did you mean {' or '.join(f'`{name}`' for name in near)}?"
    return f"one of: {', '.join(known)}" if known else "there is none to choose from"
