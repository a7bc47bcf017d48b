"""Some hundred impressions have one probability, whoever is asked: a short `same_bits.py`."""

import same_bits


def test_trainer_api_river_and_predict_agree_to_the_bit(tmp_path):
    tally = same_bits.run(tmp_path, 300)
    assert tally["workers"] == 2
    assert not any(tally["differ_as_learned"].values()), tally
    assert not any(tally["differ_at_the_end"].values()), tally
