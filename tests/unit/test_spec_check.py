"""Every way a spec can be wrong is reported with its line, its key and a fix."""

import pytest

from features.errors import SpecError
from features.spec_file import parse_spec

HEAD = 'name = "a"\nsource = { label = "click" }\n'
FIELDS = '[[fields]]\nnames = ["ad", "site", "user"]\ngroup = "ids"\n'


# Specs with a part more; `#<` marks the line at fault.
def top(*lines):
    return HEAD + FIELDS + "\n".join(lines)


def source(*lines):
    return 'name = "a"\n[source]\n' + "\n".join(lines) + "\n" + FIELDS


def clicks(*lines):
    return source('label = "click"', *lines)


def field(*lines):
    return top("[[fields]]", *lines)


def more(*lines):
    return field('names = ["x"]', *lines)


def quantile(*lines):
    return more('transform = "quantile"', *lines)


def crosses(*lines):
    return top("[crosses]", *lines)


def bits(line):
    return top("[hash]", line)


def single(*lines):
    return top("[learner]", 'kind = "single"', *lines)


# The spec, the key that is told, and words of the message and of its fix.
CASES = [
    # keys and types
    (more('transfrom = "log2" #<'), "fields[1].transfrom", "no key `transfrom`", "`transform`"),
    (top("[hsh] #<"), "hsh", "no key `hsh`", "`hash`"),
    (f'name = "a"\n[source] #<\n{FIELDS}', "source.label", "`label` is missing", "add `label"),
    (f'[source] #<\nlabel = "y"\n{FIELDS}', "name", "`name` is missing", "add `name"),
    (f"{HEAD}[[fields]] #<\n", "fields[0].names", "`names` is missing", "add `names"),
    (field('names = "x" #<'), "fields[1].names", "'x' is not a list", "a list"),
    (field(f"names = [{[9] * 999}] #<"), "fields[1].names[0]", "... is not text", "in quotes"),
    (field('names = ["x",', "  3] #<"), "fields[1].names[1]", "3 is not text", "in quotes"),
    (bits("bits = 2.5 #<"), "hash.bits", "2.5", "a whole number"),
    (f"name = 2024-01-01 #<\n{HEAD[11:]}{FIELDS}", "name", "2024", "text in quotes"),
    (clicks('header = "yes" #<'), "source.header", "'yes' is not true or", "true or false"),
    (f"hash = 3 #<\n{HEAD}{FIELDS}", "hash", "3 is not a table", "a table"),
    (more('transform = "log_square" #<'), "fields[1].transform", "'log_square'", "`log_squared`"),
    (more("transform = 2 #<"), "fields[1].transform", "2 cannot", "quantile"),
    (clicks('format = "json" #<'), "source.format", "'json'", "`jsonl`"),
    (top("[learner.fields]", "alfa = 1 #<"), "learner.fields.alfa", "no key `alfa`", "`alpha`"),
    (top("[[learner.experts]] #<"), "learner.experts", "no key `experts`", ""),
    (crosses('groups = [["ids"]] #<'), "crosses.groups[0]", "not a list of 2", "a list of 2"),
    # source
    (source('label = "" #<'), "source.label", "no name", "the click"),
    (clicks('timestamp = "click" #<'), "source.timestamp", "cannot also be", "another column"),
    (clicks('weight = "click" #<'), "source.weight", "cannot also be", "another column"),
    (clicks('separator = "||" #<'), "source.separator", "'||'", "one character"),
    (clicks('separator = "§" #<'), "source.separator", "'§'", "one character"),
    (clicks('separator = "\\n" #<'), "source.separator", "'\\n'", "one character"),
    (clicks("header = false #<"), "source.header", "no header line", "columns = ["),
    (clicks('columns = ["click"] #<'), "source.columns", "so is a header", "header = false"),
    (
        clicks("header = false", 'columns = ["click", "ad",', '  "ad"] #<'),
        "source.columns[2]", "`ad` is named twice", "of its own",
    ),
    (
        clicks("header = false", 'columns = ["click", "ad", "site", "usr"]').replace(
            '"user"]', '"user"] #<'
        ),
        "fields[0].names[2]", "`user` is not in source.columns", "`usr`",
    ),
    (
        source('label = "click" #<', "header = false", 'columns = ["clicks"]'),
        "source.label", "`click` is not in", "`clicks`",
    ),
    (clicks('timestamp_format = "unix" #<'), "source.timestamp_format", "'unix'", "%y%m%d%H"),
    (clicks('timestamp_format = "" #<'), "source.timestamp_format", "''", "iso"),
    (
        more('transform = "hour_of_day"', 'timestamp_format = "%Q" #<'),
        "fields[1].timestamp_format", "'%Q'", "%y%m%d%H",
    ),
    # fields
    (f"fields = [] #<\n{HEAD}", "fields", "no fields", "[[fields]]"),
    (field("names = [] #<"), "fields[1].names", "no field is named", "names = ["),
    (field('names = ["x", ""] #<'), "fields[1].names[1]", "no name", "name it"),
    (
        field('names = ["x",', '"ad", #<', '"y"]'),
        "fields[1].names[1]", "two fields are named `ad`", "`column`",
    ),
    (
        field('names = ["x", "click"] #<'),
        "fields[1].names[1]", "would be told the answer", "take it out",
    ),
    (more('column = "click" #<'), "fields[1].column", "would be told the answer", "take it out"),
    (
        field('names = ["x", "y"]', 'column = "z" #<'),
        "fields[1].column", "for 2 fields", "of its own",
    ),
    (
        more('text = "missing" #<'),
        "fields[1].text", "means nothing with transform 'category'", "'log_squared'",
    ),
    (
        more('transform = "categories"', 'separator = "" #<'),
        "fields[1].separator", "nothing stands between", "such as",
    ),
    (more('transform = "quantile" #<'), "fields[1].transform", "has neither", "`edges`"),
    (quantile("edges = [1]", "buckets = 3 #<"), "fields[1].buckets", "both", "`edges`"),
    (quantile("edges = [1, 3,", "2] #<"), "fields[1].edges[2]", "2.0 follows 3.0", "sort"),
    (quantile("edges = [1, 1] #<"), "fields[1].edges[1]", "must rise", "once"),
    (quantile("edges = [1, inf] #<"), "fields[1].edges[1]", "not a finite", "remove"),
    (quantile("edges = [nan, 1] #<"), "fields[1].edges[0]", "not a finite", "remove"),
    (quantile(f"edges = {[*range(10_000)]} #<"), "fields[1].edges", "10000 edges", "9999"),
    (quantile("buckets = 1 #<"), "fields[1].buckets", "1 is not", "2 to 10000"),
    (quantile("buckets = 10001 #<"), "fields[1].buckets", "10001", "2 to 10000"),
    (quantile("buckets = 9", "learn_from = 0 #<"), "fields[1].learn_from", "0 values", "1 to 1000"),
    (
        quantile("buckets = 9", "learn_from = 1000001 #<"),
        "fields[1].learn_from", "1000001 values", "1 to 1000000",
    ),
    # crosses
    (
        crosses('named = [["ad", "site"],', '["ad",', '"sites"]] #<'),
        "crosses.named[1][1]", "no field is named `sites`", "`site`",
    ),
    (
        crosses('named = [["ad", "site", "ad"]] #<'),
        "crosses.named[0][2]", "`ad` is crossed with itself", "different",
    ),
    (crosses('named = [["ad"]] #<'), "crosses.named[0]", "a cross of 1", "two or three"),
    (
        crosses('named = [["ad", "site", "user", "ad"]] #<'),
        "crosses.named[0]", "a cross of 4", "two or three",
    ),
    (
        crosses('named = [["ad", "site"],', '["site", "ad"]] #<'),
        "crosses.named[1]", "given twice", "remove",
    ),
    (
        crosses('groups = [["ids", "idz"]] #<'),
        "crosses.groups[0][1]", "no group is named `idz`", "`ids`",
    ),
    (
        crosses('groups = [["x", "x"]] #<').replace('group = "ids"\n', ""),
        "crosses.groups[0][0]", "no group is named `x`", 'group = "x"',
    ),
    # hash and learner
    (bits("bits = 3 #<"), "hash.bits", "3 bits", "4 to 30"),
    (bits("cross_bits = 31 #<"), "hash.cross_bits", "31", "4 to 30"),
    (bits("seed = -1 #<"), "hash.seed", "-1", "0 to"),
    (bits(f"seed = {2**64} #<"), "hash.seed", "18446744073709551616", ""),
    (
        bits("admit_after = 2_000_000 #<"),
        "hash.admit_after", "2000000 cannot be used", "1 to 1,000,000",
    ),
    (
        top("[hash]", "admit_after = 2 #<", "[learner]", 'kind = "single"'),
        "hash.admit_after", "counts no views", 'kind = "stack"',
    ),
    (bits("evict_after = 1 #<"), "hash.evict_after", "1 cannot be used", "1,000 to"),
    (single("fields.alpha = 0 #<"), "learner.fields.alpha", "0.0 is not", "above 0"),
    (single("crosses.alpha = inf #<"), "learner.crosses.alpha", "inf is not", "above 0"),
    (single("fields.beta = -1 #<"), "learner.fields.beta", "-1.0", "0 or above"),
    (single("fields.l1 = nan #<"), "learner.fields.l1", "nan", "0 or above"),
    (single("crosses.l2 = -0.5 #<"), "learner.crosses.l2", "-0.5", "0 or above"),
    (
        single("[learner.fields]", "beta = 0", "l2 = 0 #<"),
        "learner.fields.l2", "both 0", "beta = 1.0",
    ),
    (top("[learner.fields] #<", "alpha = 1"), "learner.fields", "is not read", '"single"'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "path", "message", "fix"), CASES, ids=[f"{case[1]} {case[2]}" for case in CASES]
)
def test_reports_line_key_and_fix_of(text, path, message, fix):
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
    "the widest hash": top("[hash]", "bits = 30", "cross_bits = 4", f"seed = {2**64 - 1}"),
    "a cross of three": crosses('named = [["ad", "site", "user"], ["ad", "site"]]'),
    "a group with itself": crosses('groups = [["ids", "ids"]]'),
    "one edge": quantile("edges = [0]"),
    "two buckets": quantile("buckets = 2", "learn_from = 1"),
    "beta of 0 with l2": single("fields = { beta = 0 }"),
    "one column in two fields": more('column = "ad"'),
    "a log without a header": clicks("header = false", 'columns = ["click", "ad", "site", "user"]'),
    "no header and no columns where lines have keys": clicks("header = false", 'format = "jsonl"'),
    "default values spelled out": more('text = "reject"', "edges = []"),
    "a strptime pattern": clicks('timestamp_format = "%d.%m.%Y %H:%M:%S"'),
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_accepts(text):
    assert parse_spec(text).source.label == "click"
