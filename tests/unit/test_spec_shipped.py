"""The shipped specs fit the logs they are named after, and share one set of settings."""

import csv
import gzip
from itertools import islice
from pathlib import Path

import pytest

from features.spec import LearnerSpec
from features.spec_file import load_spec, shipped_specs

DATA = Path(__file__).parents[2].parent / "shared" / "data"
LOGS = {
    "criteo_dac80k": "criteo_dac80k.tsv.gz",
    "avazu20k": "avazu20k_by_hour.csv.gz",
    "criteo_attribution165k": "criteo_attribution165k.csv.gz",
    "open_bandit40k": "open_bandit40k_by_time.csv.gz",
}
FIELDS = {
    "criteo_dac80k": 39,
    "criteo_dac80k_counters": 39,
    "avazu20k": 22,
    "criteo_attribution165k": 5,
    "open_bandit40k": 9,
    "sim": 12,
    "market": 12,
}
SIM_COLUMNS = {
    *("impression_id", "timestamp", "user", "segment", "ad", "campaign", "advertiser"),
    *("ad_category", "site", "placement", "device", "interests", "click", "p_true"),
}


def columns_read(spec):
    fields = {field.column or name for field in spec.fields for name in field.names}
    source = spec.source
    return (fields | {source.label, source.timestamp, source.event_id, source.weight}) - {""}


def first_rows(name, count):
    path = DATA / name / LOGS[name]
    if not path.exists():
        pytest.skip(f"{path.name} is not on this machine")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if ".tsv" in path.name else ",")
        return list(islice(reader, count))


def test_a_spec_is_shipped_for_each_log():
    assert shipped_specs() == sorted(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_a_shipped_spec_has_its_fields_all_their_pairs_and_the_defaults(name):
    spec = load_spec(name)
    assert spec.name == name
    assert spec.description
    assert sum(len(field.names) for field in spec.fields) == FIELDS[name]
    # market: all but those with the hour and the day
    assert (spec.learner, spec.source.format) == (LearnerSpec(), "auto")
    assert spec.crosses.all_pairs or spec.crosses.groups == (("shown", "shown"),)


@pytest.mark.parametrize("name", LOGS)
def test_a_shipped_spec_reads_columns_that_its_log_has(name):
    (row,) = first_rows(name, 1)
    assert columns_read(load_spec(name)) <= set(row)


def test_the_simulators_spec_reads_its_columns_but_never_the_truth():
    assert columns_read(load_spec("sim")) == SIM_COLUMNS - {"p_true"}


def test_open_bandits_spec_reads_no_propensity():
    assert "propensity_score" not in columns_read(load_spec("open_bandit40k"))
