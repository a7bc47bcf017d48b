"""What MLflow warns of, of its own type hints while it is imported, and of its own deprecations."""

import pytest

IGNORED = [
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]


def ignored(test):
    """Decorate one test."""
    for mark in IGNORED:
        test = mark(test)
    return test
