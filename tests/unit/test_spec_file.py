"""Reading a spec, changing keys of it, and its identity."""

from pathlib import Path

import msgspec
import pytest

from features.errors import SpecError
from features.spec import Rates, Spec
from features.spec_file import load_spec, parse_spec, shipped_specs, spec_identity

TEXT = """\
name = "mine"
source = { label = "click", timestamp = "at" }
[[fields]]
names = ["ad", "site"]
[[fields]]
names = ["hour"]
transform = "hour_of_day"
column = "at"
[crosses]
all_pairs = true
"""


# Reading


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_reads_a_file_by_its_path(tmp_path, encoding):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT, encoding=encoding)
    assert load_spec(path) == load_spec(str(path)) == parse_spec(TEXT)


def test_a_file_comes_before_a_shipped_spec_of_its_name_and_a_folder_does_not(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("sim").mkdir()
    Path("avazu20k").write_text(TEXT)
    assert load_spec("sim").name == "sim"
    assert load_spec("avazu20k").name == "mine"


def test_an_unknown_name_is_answered_with_the_shipped_ones():
    with pytest.raises(SpecError, match="is called `avazu`") as caught:
        load_spec("avazu")
    assert all(name in caught.value.fix for name in shipped_specs())
    assert "did you mean `avazu20k`?" in caught.value.fix


FILES = {
    "absent": (lambda path: None, r"mine\.toml: there is no such file\. Fix: check"),
    "a folder": (Path.mkdir, r"this is a directory\. Fix: name the TOML file"),
    "not UTF-8": (
        lambda path: path.write_bytes(b'name = "a"\n\n# \xe9t\xe9\n'),
        "line 3: byte 0xe9 is not UTF-8",
    ),
}


@pytest.mark.parametrize(("make", "said"), FILES.values(), ids=FILES)
def test_what_is_no_file_of_text_is_named(tmp_path, make, said):
    make(tmp_path / "mine.toml")
    with pytest.raises(SpecError, match=said):
        load_spec(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (PermissionError(13, "Permission denied"), "no permission to read it"),
        (OSError(5, "Input/output error"), "cannot be read: .*Input/output error"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_spec_error(tmp_path, monkeypatch, failure, message):
    def refuse(path):
        raise failure

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SpecError, match=message):
        load_spec(tmp_path / "mine.toml")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_an_empty_spec_is_reported(text):
    with pytest.raises(SpecError, match=r"line 1: the spec is empty.*spec init"):
        parse_spec(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('name = "a"\nsource = \n', 2),
        ('name = "a\n', 1),
        ('name = "a"\n\nname = "b"\n\n\n', 3),
        ("name = [\n1,\n2\n", 3),
        ("\n[fields\n", 2),
        ("a = " + "[" * 5000, 1),
        ("\na = " + "9" * 5000, 2),
    ],
)
def test_broken_toml_is_reported_with_its_line(text, line):
    with pytest.raises(SpecError, match="this is not TOML") as caught:
        parse_spec(text, "x.toml")
    assert (caught.value.file, caught.value.line) == ("x.toml", line)


# Overrides


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("learner.kind=single", "learner.kind", "single"),
        ('learner.kind="single"', "learner.kind", "single"),
        ("learner.fields.l2=1", "learner.fields.l2", 1.0),
        ("crosses.all_pairs=false", "crosses.all_pairs", False),
        ("crosses = { }", "crosses.all_pairs", False),
        ("hash.bits = 20", "hash.bits", 20),
        ("source.timestamp_format=%y%m%d%H", "source.timestamp_format", "%y%m%d%H"),
        ("source.event_id=", "source.event_id", ""),
        ("source.event_id=a=b", "source.event_id", "a=b"),
        ("description=one\nhash = 1", "description", "one\nhash = 1"),
        ("description=1\nhash = 1", "description", "1\nhash = 1"),
        ('crosses.named=[["ad", "site"]]', "crosses.named", (("ad", "site"),)),
        ("hash={ bits = 9 }", "hash.bits", 9),
    ],
)
def test_an_override_changes_one_key(override, path, value):
    found = parse_spec(TEXT, overrides=[override])
    for key in path.split("."):
        found = getattr(found, key)
    assert found == value


def test_overrides_apply_in_order():
    spec = parse_spec(
        TEXT, overrides=["learner.fields.alpha=1", "learner.fields.alpha=2", "learner.kind=single"]
    )
    assert spec.learner.fields == Rates(alpha=2.0)


@pytest.mark.parametrize(
    ("override", "message", "fix"),
    [
        ("hash.bts=20", "there is no key `hash.bts`", "`hash.bits`"),
        ("learner.alpha=1", "there is no key `learner.alpha`", "`learner.fields.alpha`"),
        ("fields.0.names=x", "there is no key `fields.0.names`", "`fields`"),
        ("hash.bits", "has no `=`", "KEY=VALUE"),
        ("=3", "there is no key ``", "hash"),
        ("hash.bits=99", "99 bits cannot be used (from the override `hash.bits=99`)", "4 to 30"),
        ("hash.bits=many", "'many' is not a whole number (from the override", "a whole number"),
        ("learner.kind=singel", "'singel' cannot be used here (from the", "`single`"),
        ("learner.fields.alpha=1", "is not read", "learner.kind"),
        ('crosses.named=[["ad", "sit"]]', "no field is named `sit` (from the", "`site`"),
    ],
)
def test_a_wrong_override_is_named_instead_of_a_line(override, message, fix):
    with pytest.raises(SpecError) as caught:
        parse_spec(TEXT, "mine.toml", [override])
    assert message in caught.value.message
    assert fix in caught.value.fix
    assert override in caught.value.message
    assert caught.value.line == 0


def test_an_error_of_the_file_keeps_its_line_though_other_keys_are_overridden():
    text = TEXT.replace('"site"]', '"site", "click"]')
    with pytest.raises(SpecError) as caught:
        parse_spec(text, overrides=["hash.bits=20", "source.format=csv"])
    assert caught.value.line == 4


# Identity


def identity(*replacements):
    text = TEXT
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    return spec_identity(parse_spec(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"mine"', '"yours"\ndescription = "told otherwise"'),
        ('timestamp = "at"', 'timestamp = "at", format = "jsonl", event_id = "id", weight = "w"'),
        ('timestamp = "at"', 'timestamp = "at", separator = ";", header = true'),
        (
            '"click", timestamp = "at"',
            '"y", timestamp = "at", header = false, columns = ["y", "at", "ad", "site"]',
        ),
        ('timestamp = "at"', 'timestamp = "at", timestamp_format = "iso"'),
        ('"site"]', '"site"]\ntransform = "category"\nedges = []\ngroup = ""'),
        ('"ad", "site"]', '"ad"]\n[[fields]]\nnames = ["site"]\ncolumn = "site"'),
        ('column = "at"', 'column = "at"\ntimestamp_format = "iso"'),
        ("all_pairs = true", "all_pairs = true\nnamed = []"),
        ("[crosses]", '[hash]\nbits = 20\n[learner]\nkind = "stack"\n[crosses]'),
        ("[crosses]", "[learner.fields]\nalpha = 0.1\n[crosses]"),
    ],
)
def test_the_identity_stays_when_nothing_learned_changes(old, new):
    assert identity((old, new)) == identity()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"site"]', '"user"]'),
        ('timestamp = "at"', 'timestamp = "at", timestamp_format = "ms"'),
        ('timestamp = "at"', 'timestamp = "time"'),
        ('column = "at"', 'column = "time"'),
        ('"hour_of_day"', '"day_of_week"'),
        ("all_pairs = true", "all_pairs = false"),
        ("[crosses]", "[hash]\nseed = 1\n[crosses]"),
        ("[crosses]", '[learner]\nkind = "single"\n[crosses]'),
    ],
)
def test_the_identity_changes_with_what_is_learned(old, new):
    assert identity((old, new)) != identity()


def test_every_key_of_the_records_was_considered_for_the_identity():
    # A new key must be put in or left out knowingly: see spec_identity.
    keys = {field.name for field in msgspec.structs.fields(Spec)}
    known = {"name", "description", "source", "fields", "crosses", "counters", "hash", "learner"}
    assert keys == known


def test_the_identity_is_the_same_on_every_machine():
    # The learner is spelled out, so that better defaults do not change this value.
    learner = ("learner.kind=single", "learner.fields={ alpha = 0.2 }")
    golden = "8d18a9e948719033079db2022a9c0f400c07204612990fe7335c08a68b16be3a"
    assert spec_identity(parse_spec(TEXT, overrides=learner)) == golden
