"""Every way a spec can be wrong is reported with its line, its key and a fix."""

from __future__ import annotations

import pytest

from features.errors import SpecError
from features.spec_file import parse_spec

HEAD = 'name = "a"\nsource = { label = "click" }\n'
FIELDS = '[[fields]]\nnames = ["ad", "site", "user"]\ngroup = "ids"\n'


def field(*lines: str) -> str:
    """A spec with one field more, `#<` marking the line at fault."""
    return HEAD + FIELDS + "[[fields]]\n" + "\n".join(lines)


def source(*lines: str) -> str:
    return 'name = "a"\n[source]\n' + "\n".join(lines) + "\n" + FIELDS


def table(*lines: str) -> str:
    return HEAD + FIELDS + "\n".join(lines)


CASES = {
    # keys and types
    "unknown key": (
        field('names = ["x"]', 'transfrom = "log2" #<'),
        "fields[1].transfrom",
        "no key `transfrom`",
        "`transform`",
    ),
    "unknown table": (table("[hsh] #<"), "hsh", "no key `hsh`", "`hash`"),
    "missing label": (
        'name = "a"\n[source] #<\nformat = "csv"\n' + FIELDS,
        "source.label",
        "`label` is missing",
        "add `label",
    ),
    "missing name": (
        '[source] #<\nlabel = "click"\n' + FIELDS,
        "name",
        "`name` is missing",
        "add `name",
    ),
    "missing names": (
        HEAD + '[[fields]] #<\ntransform = "category"',
        "fields[0].names",
        "`names` is missing",
        "add `names",
    ),
    "text for a list": (field('names = "x" #<'), "fields[1].names", "'x' is not a list", "a list"),
    "a long value of a wrong type": (
        field(f"names = [{list(range(999))}] #<"),
        "fields[1].names[0]",
        "... is not text",
        "in quotes",
    ),
    "number for a name": (
        field('names = ["x",', "  3] #<"),
        "fields[1].names[1]",
        "3 is not text",
        "in quotes",
    ),
    "fraction of a bit": (table("[hash]", "bits = 2.5 #<"), "hash.bits", "2.5", "a whole number"),
    "date for a name": (
        "name = 2024-01-01 #<\n" + HEAD[11:] + FIELDS,
        "name",
        "2024",
        "text in quotes",
    ),
    "text for a yes or no": (
        source('label = "click"', 'header = "yes" #<'),
        "source.header",
        "'yes' is not true or false",
        "true or false",
    ),
    "value for a table": ("hash = 3 #<\n" + HEAD + FIELDS, "hash", "3 is not a table", "a table"),
    "unknown transform": (
        field('names = ["x"]', 'transform = "log_square" #<'),
        "fields[1].transform",
        "'log_square'",
        "`log_squared`",
    ),
    "number for a transform": (
        field('names = ["x"]', "transform = 2 #<"),
        "fields[1].transform",
        "2 cannot",
        "quantile",
    ),
    "unknown format": (
        source('label = "click"', 'format = "json" #<'),
        "source.format",
        "'json'",
        "`jsonl`",
    ),
    "unknown key of the rates": (
        table("[learner]", "fields = { alfa = 1 } #<"),
        "learner.fields.alfa",
        "no key `alfa`",
        "`alpha`",
    ),
    "an expert of the former mixture": (
        table("[[learner.experts]] #<", "fields = { alpha = 1 }"),
        "learner.experts",
        "no key `experts`",
        "",
    ),
    "admission after more views than are counted": (
        table("[hash]", "admit_after = 2_000_000 #<"),
        "hash.admit_after",
        "2000000 cannot be used",
        "1 to 1,000,000",
    ),
    "admission with single": (
        table("[hash]", "admit_after = 2 #<", "[learner]", 'kind = "single"'),
        "hash.admit_after",
        "counts no views",
        'kind = "stack"',
    ),
    "eviction at every event": (
        table("[hash]", "evict_after = 1 #<"),
        "hash.evict_after",
        "1 cannot be used",
        "1,000 to",
    ),
    "a group with nothing": (
        table("[crosses]", 'groups = [["ids"]] #<'),
        "crosses.groups[0]",
        "not a list of 2",
        "a list of 2",
    ),
    # source
    "label without a name": (source('label = "" #<'), "source.label", "no name", "the click"),
    "label is the timestamp": (
        source('label = "click"', 'timestamp = "click" #<'),
        "source.timestamp",
        "cannot also be",
        "another column",
    ),
    "label is the weight": (
        source('label = "click"', 'weight = "click" #<'),
        "source.weight",
        "cannot also be",
        "another column",
    ),
    "separator of two characters": (
        source('label = "click"', 'separator = "||" #<'),
        "source.separator",
        "'||'",
        "one character",
    ),
    "separator of two bytes": (
        source('label = "click"', 'separator = "§" #<'),
        "source.separator",
        "'§'",
        "one character",
    ),
    "separator that ends lines": (
        source('label = "click"', 'separator = "\\n" #<'),
        "source.separator",
        "'\\n'",
        "one character",
    ),
    "no header and no columns": (
        source('label = "click"', "header = false #<"),
        "source.header",
        "no header line",
        "columns = [",
    ),
    "header and columns": (
        source('label = "click"', 'columns = ["click", "ad", "site", "user"] #<'),
        "source.columns",
        "so is a header",
        "header = false",
    ),
    "a column named twice": (
        source('label = "click"', "header = false", 'columns = ["click", "ad",', '  "ad"] #<'),
        "source.columns[2]",
        "`ad` is named twice",
        "of its own",
    ),
    "a field that is no column": (
        source(
            'label = "click"', "header = false", 'columns = ["click", "ad", "site", "usr"]'
        ).replace('"user"]', '"user"] #<'),
        "fields[0].names[2]",
        "`user` is not in source.columns",
        "`usr`",
    ),
    "a label that is no column": (
        source(
            'label = "click" #<', "header = false", 'columns = ["clicks", "ad", "site", "user"]'
        ),
        "source.label",
        "`click` is not in",
        "`clicks`",
    ),
    "unknown timestamp format": (
        source('label = "click"', 'timestamp_format = "unix" #<'),
        "source.timestamp_format",
        "'unix'",
        "%y%m%d%H",
    ),
    "unknown strptime directive": (
        field('names = ["x"]', 'transform = "hour_of_day"', 'timestamp_format = "%Q" #<'),
        "fields[1].timestamp_format",
        "'%Q'",
        "%y%m%d%H",
    ),
    "empty timestamp format": (
        source('label = "click"', 'timestamp_format = "" #<'),
        "source.timestamp_format",
        "''",
        "iso",
    ),
    # fields
    "no fields": ("fields = [] #<\n" + HEAD, "fields", "no fields", "[[fields]]"),
    "no names": (field("names = [] #<"), "fields[1].names", "no field is named", "names = ["),
    "an empty name": (field('names = ["x", ""] #<'), "fields[1].names[1]", "no name", "name it"),
    "a field named twice": (
        field('names = ["x",', '"ad", #<', '"y"]'),
        "fields[1].names[1]",
        "two fields are named `ad`",
        "`column`",
    ),
    "the label as a field": (
        field('names = ["x", "click"] #<'),
        "fields[1].names[1]",
        "would be told the answer",
        "take it out",
    ),
    "the label as a field's column": (
        field('names = ["x"]', 'column = "click" #<'),
        "fields[1].column",
        "would be told the answer",
        "take it out",
    ),
    "one column for two fields": (
        field('names = ["x", "y"]', 'column = "z" #<'),
        "fields[1].column",
        "for 2 fields",
        "of its own",
    ),
    "a key that the transform does not read": (
        field('names = ["x"]', 'text = "missing" #<'),
        "fields[1].text",
        "means nothing with transform 'category'",
        "'log_squared'",
    ),
    "a list without a separator": (
        field('names = ["x"]', 'transform = "categories"', 'separator = "" #<'),
        "fields[1].separator",
        "nothing stands between",
        "such as",
    ),
    "a quantile without buckets": (
        field('names = ["x"]', 'transform = "quantile" #<'),
        "fields[1].transform",
        "has neither",
        "`edges`",
    ),
    "a quantile with both": (
        field('names = ["x"]', 'transform = "quantile"', "edges = [1]", "buckets = 3 #<"),
        "fields[1].buckets",
        "both",
        "`edges`",
    ),
    "edges that fall": (
        field('names = ["x"]', 'transform = "quantile"', "edges = [1, 3,", "2] #<"),
        "fields[1].edges[2]",
        "2.0 follows 3.0",
        "sort",
    ),
    "edges that repeat": (
        field('names = ["x"]', 'transform = "quantile"', "edges = [1, 1] #<"),
        "fields[1].edges[1]",
        "must rise",
        "once",
    ),
    "an infinite edge": (
        field('names = ["x"]', 'transform = "quantile"', "edges = [1, inf] #<"),
        "fields[1].edges[1]",
        "not a finite",
        "remove",
    ),
    "an edge that is no number": (
        field('names = ["x"]', 'transform = "quantile"', "edges = [nan, 1] #<"),
        "fields[1].edges[0]",
        "not a finite",
        "remove",
    ),
    "too many edges": (
        field('names = ["x"]', 'transform = "quantile"', f"edges = {list(range(10_000))} #<"),
        "fields[1].edges",
        "10000 edges",
        "9999",
    ),
    "one bucket": (
        field('names = ["x"]', 'transform = "quantile"', "buckets = 1 #<"),
        "fields[1].buckets",
        "1 is not",
        "2 to 10000",
    ),
    "too many buckets": (
        field('names = ["x"]', 'transform = "quantile"', "buckets = 10001 #<"),
        "fields[1].buckets",
        "10001",
        "2 to 10000",
    ),
    "learning from nothing": (
        field('names = ["x"]', 'transform = "quantile"', "buckets = 9", "learn_from = 0 #<"),
        "fields[1].learn_from",
        "0 values",
        "1 to 1000000",
    ),
    "learning from too much": (
        field('names = ["x"]', 'transform = "quantile"', "buckets = 9", "learn_from = 1000001 #<"),
        "fields[1].learn_from",
        "1000001 values",
        "1 to 1000000",
    ),
    # crosses
    "a cross with an unknown field": (
        table("[crosses]", 'named = [["ad", "site"],', '["ad",', '"sites"]] #<'),
        "crosses.named[1][1]",
        "no field is named `sites`",
        "`site`",
    ),
    "a cross with itself": (
        table("[crosses]", 'named = [["ad", "site", "ad"]] #<'),
        "crosses.named[0][2]",
        "`ad` is crossed with itself",
        "different",
    ),
    "a cross of one": (
        table("[crosses]", 'named = [["ad"]] #<'),
        "crosses.named[0]",
        "a cross of 1",
        "two or three",
    ),
    "a cross of four": (
        table("[crosses]", 'named = [["ad", "site", "user", "ad"]] #<'),
        "crosses.named[0]",
        "a cross of 4",
        "two or three",
    ),
    "a cross given twice": (
        table("[crosses]", 'named = [["ad", "site"],', '["site", "ad"]] #<'),
        "crosses.named[1]",
        "given twice",
        "remove",
    ),
    "an unknown group": (
        table("[crosses]", 'groups = [["ids", "idz"]] #<'),
        "crosses.groups[0][1]",
        "no group is named `idz`",
        "`ids`",
    ),
    "a group where there is none": (
        table("[crosses]", 'groups = [["x", "x"]] #<').replace('group = "ids"\n', ""),
        "crosses.groups[0][0]",
        "no group is named `x`",
        'group = "x"',
    ),
    # hash and learner
    "too few bits": (table("[hash]", "bits = 3 #<"), "hash.bits", "3 bits", "4 to 30"),
    "too many bits": (table("[hash]", "cross_bits = 31 #<"), "hash.cross_bits", "31", "4 to 30"),
    "a negative seed": (table("[hash]", "seed = -1 #<"), "hash.seed", "-1", "0 to"),
    "a seed of 65 bits": (
        table("[hash]", f"seed = {2**64} #<"),
        "hash.seed",
        "18446744073709551616",
        "",
    ),
    "no learning rate": (
        table("[learner]", 'kind = "single"', "[learner.fields]", "alpha = 0 #<"),
        "learner.fields.alpha",
        "0.0 is not",
        "above 0",
    ),
    "an infinite learning rate": (
        table("[learner]", 'kind = "single"', "[learner.crosses]", "alpha = inf #<"),
        "learner.crosses.alpha",
        "inf is not",
        "above 0",
    ),
    "a negative beta": (
        table("[learner]", 'kind = "single"', "fields.beta = -1 #<"),
        "learner.fields.beta",
        "-1.0",
        "0 or above",
    ),
    "l1 not a number": (
        table("[learner]", 'kind = "single"', "fields.l1 = nan #<"),
        "learner.fields.l1",
        "nan",
        "0 or above",
    ),
    "a negative l2": (
        table("[learner]", 'kind = "single"', "[learner.crosses]", "l2 = -0.5 #<"),
        "learner.crosses.l2",
        "-0.5",
        "0 or above",
    ),
    "a first step without a denominator": (
        table("[learner]", 'kind = "single"', "[learner.fields]", "beta = 0", "l2 = 0 #<"),
        "learner.fields.l2",
        "both 0",
        "beta = 1.0",
    ),
    "rates that are not read": (
        table("[learner.fields] #<", "alpha = 0.01"),
        "learner.fields",
        "is not read",
        '"single"',
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_reports_line_key_and_fix_of(case: str) -> None:
    text, path, message, fix = CASES[case]
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "my.toml")
    error = caught.value
    assert message in error.message
    assert fix in error.fix
    assert error.field == path
    assert "#<" in text.split("\n")[error.line - 1]
    assert str(error).startswith(f"my.toml, line {error.line}, {path}: ")


ACCEPTED = {
    "the shortest spec": HEAD + FIELDS,
    "the widest hash": table("[hash]", "bits = 30", "cross_bits = 4", f"seed = {2**64 - 1}"),
    "a cross of three": table("[crosses]", 'named = [["ad", "site", "user"], ["ad", "site"]]'),
    "a group with itself": table("[crosses]", 'groups = [["ids", "ids"]]'),
    "one edge": field('names = ["x"]', 'transform = "quantile"', "edges = [0]"),
    "two buckets": field(
        'names = ["x"]', 'transform = "quantile"', "buckets = 2", "learn_from = 1"
    ),
    "beta of 0 with l2": table("[learner]", 'kind = "single"', "fields = { beta = 0 }"),
    "one column in two fields": field('names = ["x"]', 'column = "ad"'),
    "a log without a header": source(
        'label = "click"', "header = false", 'columns = ["click", "ad", "site", "user"]'
    ),
    "no header and no columns where lines have keys": source(
        'label = "click"', "header = false", 'format = "jsonl"'
    ),
    "default values spelled out": field('names = ["x"]', 'text = "reject"', "edges = []"),
    "a strptime pattern": source('label = "click"', 'timestamp_format = "%d.%m.%Y %H:%M:%S"'),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepts(case: str) -> None:
    assert parse_spec(ACCEPTED[case]).source.label == "click"
