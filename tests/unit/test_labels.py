"""What a label means is said by the spec, and read in one place for learning and reports."""

import numpy as np
import pyarrow as pa
import pytest

from features.errors import ClicktideError, SpecError
from features.labels import guess_label_values, labels, parse_label_values
from features.spec import FieldSpec, SourceSpec, Spec
from features.spec_file import parse_spec
from features.vectoriser import Vectoriser
from learning.click_learner import ClickLearner
from streaming.prepare import Preparer
from streaming.replay import Replay, first_rows
from streaming.sources import Batch, Position, open_source

NAN = float("nan")


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        # Without a mapping, a label is 0 or 1, true or false, in any type that says so.
        (["0", "1", " True", "+1", "1.0", "yes", "", "-1"], {}, [0, 1, 1, 1, 1, NAN, NAN, NAN]),
        ([0.0, 1.0, 0.5, None, NAN], {}, [0, 1, NAN, NAN, NAN]),
        ([True, False, None], {}, [1, 0, NAN]),
        # A mapping says all there is: what it does not name is no label.
        (["-1", "+1", "1.0", "0"], {"-1": 0, "1": 1}, [0, 1, 1, NAN]),
        ([-1, 1, 0], {"-1": 0, "1": 1}, [0, 1, NAN]),
        (["Y", "n", "0"], {"N": 0, "Y": 1}, [1, 0, NAN]),
        # "*" is every other value, but not a missing one.
        (["won", "lost", "late", "", None], {"won": 1, "*": 0}, [1, 0, 0, NAN, NAN]),
        ([0, 1, 7], {"0": 0, "*": 1}, [0, 1, 1]),
    ],
)
def test_a_label_is_what_its_value_means(column, values, expected):
    np.testing.assert_array_equal(labels(pa.array(column), values), expected)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"0", "1"}, {}),
        ({"TRUE", "False"}, {}),
        ({"+1", "-1"}, {"-1": 0, "+1": 1}),
        ({"No", "Yes"}, {"No": 0, "Yes": 1}),
        ({"t", "f"}, {"f": 0, "t": 1}),
        ({"1", "2"}, {"1": 0, "2": 1}),
        ({"0", "1", ""}, None),
        ({"0", "1", "2"}, None),
        ({"cat", "dog"}, None),
        (set(), None),
    ],
)
def test_a_mapping_is_guessed_from_the_values(texts, expected):
    assert guess_label_values(texts) == expected


@pytest.mark.parametrize("text", ["", "Y", "Y=2", "=1", "Y=1,"])
def test_a_mapping_on_the_command_line_that_says_nothing_is_refused(text):
    with pytest.raises(ClicktideError, match="Fix: "):
        parse_label_values(text)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('label_values = { "1" = 1 }', "mean the same"),
        ('label_values = { "1" = 2 }', "label_values"),
        ('label_values = { "0" = 0, "1" = 1 }\nviews = "views"', "no other meaning"),
        ('views = "clicks"', "cannot also be the views"),
        ('views = "ad"\ntimestamp = "t"', "counters count impressions one by one"),
    ],
)
def test_a_label_that_contradicts_itself_is_refused(keys, said):
    counters = '\n[[counters]]\nkeys = ["ad"]\nhalf_lives_h = [24]' if "timestamp" in keys else ""
    with pytest.raises(SpecError, match=said):
        parse_spec(
            f'name = "x"\nfields = [{{ names = ["ad"] }}]\n[source]\nlabel = "clicks"\n{keys}'
            + counters
        )


def prepared(rows, source):
    batch = Batch(
        pa.RecordBatch.from_pydict(rows),
        "log",
        lambda i: (i + 2, b""),
        lambda i: Position("log", i + 1),
        Position("log", len(next(iter(rows.values())))),
    )
    spec = Spec(name="x", source=source, fields=(FieldSpec(names=("ad",)),))
    return Preparer(Vectoriser(spec), source)(batch)


def test_clicks_of_views_are_learned_as_two_weighted_rows():
    source = SourceSpec(label="clicks", views="views", weight="w")
    rows = {
        "clicks": ["2", "0", "3", "9", "x"],
        "views": ["10", "4", "3", "8", "1"],
        "ad": ["a", "b", "c", "d", "e"],
        "w": ["1", "1", "0.5", "1", "1"],
    }
    ready = prepared(rows, source)
    assert ready.labels.tolist() == [0, 1, 0, 1]
    assert ready.importance.tolist() == [8, 2, 4, 1.5]
    assert [(reject.reason, reject.line) for reject in ready.rejects] == [
        ("bad_label", 5),
        ("bad_label", 6),
    ]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_row_of_clicks_and_views_is_learned_once_wherever_a_log_is_cut(tmp_path, cut):
    """Its two halves go together: --events counts rows, and a resumed read begins with a row."""
    rows = [f"{n % 4},{5 + n % 3},a{n % 2}" for n in range(12)]
    (tmp_path / "log.csv").write_text("\n".join(["clicks,views,ad", *rows, ""]))
    source = SourceSpec(label="clicks", views="views")
    spec = Spec(name="x", source=source, fields=(FieldSpec(names=("ad",)),))

    def learn(replay, rows):
        preparer = Preparer(Vectoriser(spec), source)
        log = open_source(
            str(tmp_path / "log.csv"), source, preparer.columns, start=replay.position
        )
        replay.run(
            first_rows(log, rows),
            preparer=preparer,
            on_reject=lambda reject: None,
            on_batch=lambda at: None,
        )
        return replay

    whole = learn(Replay(ClickLearner(spec)), 12)
    saved = learn(Replay(ClickLearner(spec)), cut).snapshot("log")
    resumed = learn(Replay.resumed(saved), 12)
    assert resumed.position == whole.position
    assert resumed.progress.overall.events == whole.progress.overall.events == 21
    assert resumed.learner.predict_proba_one({"ad": "a1"}) == whole.learner.predict_proba_one(
        {"ad": "a1"}
    )
