"""Every key of a TOML text is found on the line where it stands."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.errors import SpecError
from features.spec_file import parse_spec
from features.spec_lines import key_lines, nearest_line, show_path

AWKWARD = """\
# [fields] is not a table here: x = 1
name = "a # b = [c]" # end
source.label = 'it"s'
text = \"\"\"
[[fields]]
names = "no" \\\"\"\" still text\"\"\"\"
literal = '''
[hash]
bits = 1'''

[[ fields ]] # first
names = [ "a]", # one
  'b#',

  "c\\"d",
]
edges = [1.5,
  -2e3, inf]

[[fields]]
"quoted key".'x.y' = 1
when = 1979-05-27 07:32:00
nested = { a = [1, { b = "}" }], c.d = 2 }
[learner]
kind = "single"
[[learner.tables]]
[learner.tables.fields]
alpha = 1.0
[[learner.tables]]
fields = { alpha = 2.0 }
[learner.tables.crosses]
alpha = 3
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("source",), 3),
        (("source", "label"), 3),
        (("text",), 4),
        (("literal",), 7),
        (("fields",), 11),
        (("fields", 0), 11),
        (("fields", 0, "names"), 12),
        (("fields", 0, "names", 0), 12),
        (("fields", 0, "names", 1), 13),
        (("fields", 0, "names", 2), 15),
        (("fields", 0, "edges", 2), 18),
        (("fields", 1), 20),
        (("fields", 1, "quoted key", "x.y"), 21),
        (("fields", 1, "nested", "a", 1, "b"), 23),
        (("fields", 1, "nested", "c", "d"), 23),
        (("learner", "tables", 0, "fields", "alpha"), 28),
        (("learner", "tables", 1, "fields", "alpha"), 30),
        (("learner", "tables", 1, "crosses", "alpha"), 32),
    ],
)
def test_finds_the_line_of_a_key_whatever_stands_around_it(path, line):
    assert key_lines(AWKWARD)[path] == line


def test_finds_nothing_within_strings_and_comments():
    lines = key_lines(AWKWARD)
    assert ("hash",) not in lines
    assert ("x",) not in lines
    assert ("names",) not in lines


def test_counts_lines_of_a_file_with_carriage_returns():
    assert key_lines("a = 1\r\n\r\n[b]\r\nc = [\r\n1,\r\n2]\r\n") == {
        ("a",): 1,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "c", 0): 5,
        ("b", "c", 1): 6,
    }


def test_a_key_that_is_absent_has_the_line_of_the_table_around_it():
    assert nearest_line({("source",): 4}, ("source", "label")) == 4
    assert nearest_line({("source",): 4}, ("name",)) == 1


def test_a_path_is_shown_with_list_positions_in_brackets():
    assert show_path(("crosses", "named", 0, 1)) == "crosses.named[0][1]"


@example('"\\1" = 1')
@example("a = " + "[" * 3000)
@given(st.text(alphabet="[]{}\"'=#.,\n ab1\\-", max_size=40))
def test_ends_without_an_error_on_text_that_is_no_toml(text):
    lines = key_lines(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


# The line that is reported for a wrong key


@dataclass(frozen=True)
class Line:
    """A line of a spec, and what it becomes when its key is wrong (empty: it is never)."""

    text: str
    wrong: str = ""


NOISE = st.lists(
    st.sampled_from(["", "# names = ['x']", "  # [hash]", "#[[fields]] bits = 99", "\t"]),
    max_size=2,
).map(lambda texts: [Line(text) for text in texts])
NAME = st.text(alphabet="ab#=[]{}'\"., \\é", min_size=1, max_size=6)


def quoted(name):
    forms = [json.dumps(name, ensure_ascii=False)]
    if "'" not in name:
        forms.append(f"'{name}'")
    return st.sampled_from(forms)


@st.composite
def fields_table(draw, name):
    text = draw(quoted(name))
    names = draw(
        st.sampled_from(
            [
                [Line(f"names = [{text}]", f"nmes = [{text}]")],
                [Line("names = [  # ["), Line(f"  {text}, # ]", "  3,"), Line("]")],
            ]
        )
    )
    more = [
        Line('transform = "category"', 'transform = "categry"'),
        Line("learn_from = 1_000", "learn_from = 7"),
        Line('"column" = "other"', '"column" = true'),
    ]
    return [
        Line("[[fields]]"),
        *draw(NOISE),
        *names,
        *draw(st.lists(st.sampled_from(more), unique=True)),
    ]


SOURCES = [
    [Line("[source]"), Line('label = "y#"', 'lable = "y#"'), Line('format = "csv"', "format = 1")],
    [Line('source = { format = "csv", label = "y#" }', 'source = { labels = "y#" }')],
    [Line("[source]  # [hash]"), Line('"label" = "y#"', "'label' = 5")],
]
TAILS = [
    [Line("[hash]"), Line("bits = 4", "bits = 99"), Line("seed = 0x1F", "seed = -1")],
    [Line("hash = { bits = 4 }", "hash = { bits = 4.5 }")],
    [Line("[learner.fields]"), Line("alpha = 0.1", "alpha = 0")],
    [
        Line("[learner]"),
        Line('kind = "single"', 'kind = "double"'),
        Line("[learner.fields]"),
        Line("l1 = 1", "l1 = nan"),
    ],
    [Line("[crosses]"), Line("all_pairs = true", "all_pairs = 1")],
]


@st.composite
def specs(draw):
    names = draw(st.lists(NAME, min_size=1, max_size=4, unique=True))
    top = [Line('name = """'), Line("[[fields]] # "), Line('bits = 99"""')]
    tail = draw(st.sampled_from(TAILS))
    source = draw(st.sampled_from(SOURCES))
    inline = [part for part in (source, tail) if not part[0].text.startswith("[")]
    tables = [part for part in (source, tail) if part[0].text.startswith("[")]
    tables += [draw(fields_table(name)) for name in names]
    parts = [top, *inline, *tables]
    return [line for part in parts for line in [*draw(NOISE), *part]]


@given(specs(), st.data())
def test_the_line_of_the_one_wrong_key_is_reported(lines, data):
    text = "\n".join(line.text for line in lines)
    parse_spec(text)
    wrong = data.draw(st.sampled_from([i for i, line in enumerate(lines) if line.wrong]))
    texts = [line.wrong if i == wrong else line.text for i, line in enumerate(lines)]
    with pytest.raises(SpecError) as caught:
        parse_spec("\n".join(texts), "x.toml")
    assert caught.value.line == wrong + 1
    assert caught.value.file == "x.toml"
    assert caught.value.fix
