"""Killing processes at random changes nothing: a short run of ``make chaos``."""

import chaos


def test_kill_9_changes_nothing_on_the_embedded_log(tmp_path):
    tally = chaos.run(tmp_path, None, events=8_000, kills=6, seed=1)
    assert sum(tally["kills"].values()) == 6
    assert all(tally["same"].values()), tally


def test_kill_9_changes_nothing_on_kafka(kafka_address, tmp_path):
    tally = chaos.run(tmp_path, kafka_address, events=4_000, kills=3, seed=2)
    assert sum(tally["kills"].values()) == 3
    assert all(tally["same"].values()), tally
