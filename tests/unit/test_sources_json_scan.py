"""The compiled JSON scan reads a plain block as a general parser would, or not at all."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.values import as_text
from streaming.sources.block import index_block
from streaming.sources.json_columns import scan_block
from streaming.sources.json_keys import Keys
from streaming.sources.json_scan import find_members

WANTED = ("b", "a")
KEYS = Keys.of(["a", "x", "b"], WANTED)


def scan(*lines):
    block, _ = index_block("\n".join(lines).encode(), "f", 1, 0)
    plain = np.ones(block.rows, np.bool_)
    columns = scan_block(block, plain, KEYS, WANTED)
    if columns is None:
        return None
    assert columns.num_rows == plain.sum()
    columns.validate(full=True)
    return columns.to_pylist()


def types(*lines):
    block, _ = index_block("\n".join(lines).encode(), "f", 1, 0)
    return list(scan_block(block, np.ones(block.rows, np.bool_), KEYS, WANTED).schema.types)


NUMBERS = [
    "0",
    "-0",
    "7",
    "-12",
    "0.5",
    "1.0",
    "-1.25",
    "1e3",
    "1E+2",
    "12e-2",
    "0e0",
    "9223372036854775807",
]
NOT_NUMBERS = ["01", "-01", "-", "1.", ".5", "+1", "1e", "1e+", "0x1", "1.e5", "--1", "1-2", "nan"]
TOO_MUCH = [str(2**63), "1e17", "9e999", "9007199254740993.0"]  # left to a general parser


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_are_read_as_python_reads_them(number):
    assert scan(f'{{"a": {number}}}') == [{"b": None, "a": json.loads(number)}]


@pytest.mark.parametrize("number", NOT_NUMBERS + TOO_MUCH)
def test_what_is_no_number_or_not_exact_is_left_to_others(number):
    assert scan(f'{{"a": {number}}}') is None


NOT_PLAIN = {
    "an escape": r'{"a": "\n"}',
    "an escape in another field": r'{"x": "\n"}',
    "an escape in a key": r'{"\u0061": 1}',
    "a list of numbers": '{"a": [1]}',
    "a list of texts and a null": '{"a": ["x", null]}',
    "a list of lists": '{"a": [["x"]]}',
    "an escape in a list": r'{"a": ["\n"]}',
    "a list with a trailing comma": '{"a": ["x",]}',
    "a list that does not end": '{"a": ["x"}',
    "an object in another field": '{"x": {}}',
    "a control character": '{"a": "\t"}',
    "a key twice": '{"a": 1, "a": 2}',
    "a missing comma": '{"a": 1 "b": 2}',
    "a missing colon": '{"a" 1}',
    "a missing value": '{"a":}',
    "a trailing comma": '{"a": 1,}',
    "two objects": '{"a": 1}{"a": 2}',
    "something after the object": '{"a": 1} x',
    "something before it": ' {"a": 1}',
    "no key": "{1: 2}",
    "a misspelt word": '{"a": nul}',
    "a word run on": '{"a": truee}',
    "an open string": '{"a": "',
    "an open key": '{"a',
    "an open object": '{"a": 1',
    "an open object after a comma": '{"a": 1,',
    "an open object after a colon": '{"a":',
    "an open object at once": "{",
    "the end of an object alone": "}",
    "a list instead": "[1]",
}


@pytest.mark.parametrize("line", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_a_line_that_is_not_plain_is_left_out_where_few_are(line):
    good = '{"a": 1}'
    assert scan(good) is not None
    assert scan(line) is None
    assert scan(good, line, good) is None
    assert scan(*[good] * 20, line, *[good] * 20) == [{"b": None, "a": 1}] * 40


def test_keys_may_come_in_any_order_be_absent_or_new():
    lines = ['{"b":"1","new":5,"a":"2"}', '{"x":null,"a":"3"}', "{}", '{ "a" : "4" , "b":null }']
    pairs = [("1", "2"), (None, "3"), (None, None), (None, "4")]
    assert scan(*lines) == [{"b": b, "a": a} for b, a in pairs]


def test_a_key_that_json_writes_with_an_escape_is_not_found() -> None:
    text = b'{"a":1,"b":2}'
    keys = Keys.of(['a":1,"b', "a"], ['a":1,"b', "a"])
    found = find_members(
        np.frombuffer(text, np.uint8), np.array([0]), np.array([13]), np.ones(1, np.bool_), keys
    )
    assert found is not None
    assert found.plain.tolist() == [True] and found.size[:, 0].tolist() == [0, 1]


def test_a_key_is_not_read_into_the_next_row() -> None:
    text = np.frombuffer(b'{"a":1}{"abcdefg":1}', np.uint8)
    ends = np.array([3, 7])  # the first row is an open key
    for name in ("a", "abcdefg"):
        found = find_members(
            text, np.array([0, 0]), ends, np.ones(2, np.bool_), Keys.of([name], [name])
        )
        assert found is not None and found.plain.tolist() == [False, True]


def test_a_column_has_the_one_type_of_its_values() -> None:
    lines = ['{"a": 1, "b": true}', '{"a": 2.5, "b": null}', '{"b": false}']
    assert types(*lines) == [pa.bool_(), pa.float64()]
    assert types('{"a": 1, "b": "1"}') == [pa.string(), pa.int64()]
    assert types('{"a": null}') == [pa.string(), pa.string()]


def test_texts_integers_and_booleans_mix_as_texts():
    lines = ['{"a": 1}', '{"a": "#a1"}', '{"a": null}', '{"a": true}', '{"a": -7}']
    assert [row["a"] for row in scan(*lines) or []] == ["1", "#a1", None, "true", "-7"]


@pytest.mark.parametrize("number", ["1.5", "-0"])
def test_a_number_whose_text_is_not_as_read_does_not_mix_here(number):
    assert scan('{"a": "x"}', f'{{"a": {number}}}') is None


def test_lists_of_texts_are_lists_and_mix_with_nulls_only():
    lines = ['{"a": ["x", "yz"]}', '{"a": [ ]}', '{"a": null}', "{}", '{"a":[ "" , "ü"]}']
    assert [row["a"] for row in scan(*lines) or []] == [["x", "yz"], [], None, None, ["", "ü"]]
    assert types(*lines) == [pa.string(), pa.list_(pa.string())]
    assert scan('{"a": ["x"]}', '{"a": "x"}') is None


plain = st.text(
    st.characters(min_codepoint=32, exclude_characters='"\\', exclude_categories=["Cs"])
)
columns = [
    plain,
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-(2.0**52), 2.0**52).filter(lambda v: v == 0 or abs(v) > 1e-90),
    st.booleans(),
    st.lists(plain, max_size=3),
]
column = st.sampled_from(columns).flatmap(lambda kind: st.lists(st.none() | kind, min_size=9))


@given(a=column, b=column, space=st.sampled_from([(",", ":"), (", ", ": ")]), data=st.data())
def test_any_plain_block_is_read_to_the_same_values(a, b, space, data):
    rows = [{"a": x, "x": "y", "b": y} for x, y in zip(a, b, strict=False)]
    order = data.draw(st.permutations(["a", "x", "b"]))
    lines = [
        json.dumps({key: row[key] for key in order}, ensure_ascii=False, separators=space)
        for row in rows
    ]
    found = scan(*lines)
    for row, got in zip(rows, found, strict=True):
        assert list(got) == ["b", "a"]
        for key, value in got.items():
            assert value == row[key] if type(value) is list else as_text(value) == as_text(row[key])
            assert (value is None) == (row[key] is None)
