"""The page of a report: whole, safe, and what its data says."""

import re
from html.parser import HTMLParser

import msgspec
import pytest
from markupsafe import escape
from sample_report import sample_report

from monitoring.report import ReportData, render
from monitoring.report.model import ReportWindow, SliceRow, Total
from monitoring.report.verdict import verdict
from monitoring.watch.alarm_actions import AlarmAction
from monitoring.watch.alarm_actions import handled as handling
from monitoring.watch.formatting import cost_of, headline_of, size_text, when


class _Page(HTMLParser):
    """Collects tags with their attributes, and the ids."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page():
    return render(sample_report())


def test_values_of_the_data_never_become_tags(page):
    tags = _Page(page).tags
    assert sum(tag == "script" for tag, _ in tags) == 1
    assert not [tag for tag, _ in tags if tag == "img"]
    assert "&lt;script&gt;alert(1)" in page and "&lt;script&gt;alert(2)" in page


def test_nothing_is_loaded_and_nothing_inline_escapes_the_policy(page):
    for tag, attributes in _Page(page).tags:
        assert not {"src", "style", "srcset"} & attributes.keys(), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not (attributes.get("href") or "#").lstrip("#").startswith(("http", "javascript"))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and "default-src &#39;none&#39;" in policy[1] and "unsafe" not in policy[1]


def test_every_link_inside_leads_somewhere(page):
    tags = _Page(page).tags
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    links = {(a.get("href") or "#").removeprefix("#") for tag, a in tags if tag == "a"}
    assert links <= ids


def test_the_first_screen_says_all_five_answers(page):
    said = sample_report().verdict
    assert escape(said.headline.replace(" %", "\N{NO-BREAK SPACE}%")) in page
    for answer in (said.calibrated, said.since, said.where, said.cost, said.action):
        assert escape(answer) in page
    assert page.index(escape(said.action)) < page.index('id="calibration"')


def test_each_alarm_can_be_linked_to_and_read_alone(page):
    links = [a.get("href") for tag, a in _Page(page).tags if tag == "a"]
    for alarm in sample_report().alarms:
        start = page.index(f'<li id="alarm-{alarm.opening}"')
        part = page[start : page.index("</li>", start)]
        words = [alarm.severity, headline_of(alarm)[1:], size_text(alarm), cost_of(alarm)]
        for said in (*words, alarm.where, alarm.cause, alarm.action, when(alarm.since_ms, "time")):
            assert escape(said) in part, said
    assert links.count("#alarm-17") == 2 and links.count("#alarm-12") == 1  # it is over


def test_an_alarm_that_somebody_is_on_is_no_news_and_who_did_what_is_told():
    data = sample_report()
    seen = AlarmAction(
        what="acknowledge", at_ms=data.made_at, by="<b>ann", why="asked <i>", alarm="c7", number=17
    )
    handled = {alarm.id: handling(alarm, [seen], data.made_at) for alarm in data.alarms}
    said = verdict(data.total, data.alarms, data.slices, "time", known=handled)
    page = render(msgspec.structs.replace(data, alarm_actions=(seen,), verdict=said))
    assert said.headline.startswith("Acknowledged by <b>ann. No: it over-predicts by 52 %")
    assert said.state == data.verdict.state == "over"
    assert 'class="verdict over handled"' in page and "verdict over handled" not in render(data)
    assert "acknowledge alarm 17" in page and "asked &lt;i&gt;" in page and "<b>ann" not in page


def test_what_is_silenced_now_is_said_before_the_alarms():
    data = sample_report()
    ends = {"now": data.made_at + 1, "past": data.made_at}
    done = tuple(
        AlarmAction(what="silence", at_ms=0, by="bob", why="a test", field=name, until_ms=end)
        for name, end in ends.items()
    )
    page = render(msgspec.structs.replace(data, alarm_actions=done))
    section = page[page.index('id="alarms"') :]
    assert "Silenced: now until" in section.split('id="alarm-17"')[0]
    assert "Silenced: past" not in section


def test_what_nobody_is_on_makes_the_headline_before_what_costs_more():
    data = sample_report()
    known, new = data.alarms[0], msgspec.structs.replace(
        data.alarms[0], id="new", value="c9", clicks_over_promised=800.0
    )  # fmt: skip
    said = verdict(data.total, [known, new], (), "time", known={known.id: "acknowledged by ann"})
    assert "c9" in said.headline and not said.handled


def test_of_many_alarms_the_headline_tells_how_many_and_the_first_tag_is_its_own():
    data = sample_report()
    alarms = tuple(
        msgspec.structs.replace(
            data.alarms[0], id=str(at), opening=at, value=f"c{at}", clicks_over_promised=100.0 * at
        )
        for at in range(1, 13)
    )
    said = verdict(data.total, alarms, (), "time")
    assert "campaign c12" in said.headline and said.headline.endswith("; 11 more going on.")
    page = render(msgspec.structs.replace(data, alarms=alarms, verdict=said))
    tags = page[page.index('<p class="open">') :].split("</p>")[0]
    assert tags.index("campaign c12") < tags.index("campaign c11") and "and 4 more" in tags


def test_every_tile_says_what_it_means_without_hover(page):
    tiles = page[page.index('<ul class="figures"') :].split("</ul>")[0]
    assert tiles.count("<li>") == tiles.count('class="meaning"') == 6
    for name in ("calibration ratio", "normalised entropy", "ECE"):
        part = tiles[tiles.index(f">{name}<") :].split("</li>")[0]
        assert re.search(r'class="meaning">[A-Z][^<]{30,}\.<', part), name


def test_the_json_reads_back_to_the_same_report():
    data = sample_report()
    assert msgspec.json.decode(msgspec.json.encode(data), type=ReportData) == data


def test_a_report_of_windows_alone_is_drawn():
    """All parts but the windows may be absent; a window may have no click."""
    windows = (
        ReportWindow(10, 0, 0.1, start=0, end=1000),
        ReportWindow(0, 0, start=1000, end=2000),
    )
    total = Total(10, 0)
    page = render(ReportData("x", 0, windows, total, verdict(total, (), (), "time")))
    assert "Too few clicks to say." in page
    for absent in ("alarms", "slices", "grid", "reliability", "drift", "labels", "versions"):
        assert f'id="{absent}"' not in page


def test_columns_that_say_nothing_are_left_out():
    data = msgspec.structs.replace(
        sample_report(), slices=(SliceRow(10, 1, field="site", value="a"),)
    )
    page = render(data)
    assert "cost, money" not in page and "ratio since" not in page


def test_many_slices_are_cut_and_it_says_so():
    rows = tuple(
        SliceRow(10, 1, over_promised=float(i), field="site", value=f"s{i}") for i in range(3000)
    )
    page = render(msgspec.structs.replace(sample_report(), slices=rows, slices_left_out=0))
    assert "2,000 more slices" in page and ">s2999<" in page and ">s0<" not in page
    assert len(page) < 3_000_000
