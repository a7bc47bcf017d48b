"""Where integration tests have their event log."""

import pytest


@pytest.fixture(params=["sqlite", "kafka"])
def url(request, tmp_path):
    """URL of a log that is this test's own, in a file and on Kafka."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'log.db'}"
    return request.getfixturevalue("kafka_url")
