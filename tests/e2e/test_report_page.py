"""The report as a user opens it: a file in a real browser, without a network."""

from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_report import sample_report

from monitoring.report import render

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "a report.html"
    path.write_text(render(sample_report()), encoding="utf-8")
    return path


@contextmanager
def shown(browser, path, **options):
    """A page of the file, offline; afterwards there was no complaint and no request."""
    context = browser.new_context(offline=True, **options)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (said.append("a dialog"), dialog.dismiss()))
    try:
        page.goto(path.as_uri())
        yield page
        assert said == []
        assert asked == [path.as_uri()]
    finally:
        context.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_quietly_and_nothing_sticks_out(browser, sample, width, scheme):
    viewport = {"width": width, "height": 800}
    with shown(browser, sample, viewport=viewport, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator(".headline").is_visible()
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 24)"
        assert dark == (scheme == "dark")
        drawn = page.locator("#calibration svg:visible")
        assert drawn.count() == 1


def test_the_link_of_an_alarm_shows_all_about_it_though_it_is_over(browser, sample):
    with shown(browser, sample, viewport={"width": 390, "height": 800}) as page:
        about = page.locator("#alarm-12 dl")
        assert not about.is_visible()
        page.evaluate("location.hash = '#alarm-12'")
        about.wait_for()
        page.wait_for_function(  # it scrolls there smoothly
            """() => {
              const top = document.querySelector("#alarm-12").getBoundingClientRect().top;
              return top >= 0 && top < innerHeight;
            }"""
        )


def test_the_slice_grid_of_a_phone_names_every_slice_and_no_number_leaves_its_cell(browser, sample):
    with shown(browser, sample, viewport={"width": 390, "height": 800}) as page:
        texts = page.locator("#grid .narrow svg text").all_text_contents()
        slices = {column.value for column in sample_report().grid.columns}
        assert slices <= set(texts)
        outside = page.evaluate("""() => {
          const cells = [...document.querySelectorAll("#grid .narrow rect.cell")]
            .map((one) => one.getBoundingClientRect());
          return [...document.querySelectorAll("#grid .narrow text.in")].filter((text) => {
            const box = text.getBoundingClientRect();
            return !cells.some((cell) => cell.left <= box.left + 1 && box.right - 1 <= cell.right
              && cell.top <= box.top + 4 && box.bottom - 4 <= cell.bottom);
          }).map((text) => text.textContent);
        }""")
        assert outside == [] and len(texts) > len(slices)


def test_it_is_small_and_open_at_once(browser, sample):
    assert sample.stat().st_size < 3_000_000
    with shown(browser, sample) as page:
        timing = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        assert timing < 10_000  # 2 s on a machine with nothing else to do


def test_slices_are_sorted_and_filtered_by_keyboard(browser, sample):
    with shown(browser, sample) as page:
        first = page.locator("#slice-table tbody tr:visible").first
        assert "c7" in first.inner_text()
        page.locator("#slice-table th button", has_text="impressions").focus()
        page.keyboard.press("Enter")
        counts = page.locator("#slice-table tbody td:nth-child(7)").all_inner_texts()
        numbers = [int(count.replace(",", "")) for count in counts]
        assert numbers == sorted(numbers, reverse=True)
        page.keyboard.press("Enter")
        assert page.locator("#slice-table th[aria-sort=ascending]").count() == 1
        page.locator("#find").focus()
        page.keyboard.type("s11")
        assert page.locator("#shown").inner_text() == "11 of 189 slices"
        page.locator("#find").fill("")
        page.locator("#off").check()
        assert page.locator("#slice-table tbody tr:visible").count() == 1


def test_a_window_tells_its_figures_when_pointed_at(browser, sample):
    with shown(browser, sample, viewport={"width": 1280, "height": 900}) as page:
        at, tip = page.locator("#calibration .wide rect.hit").nth(20), page.locator("#tip")
        for _ in range(50):  # pointing at it may scroll, and scrolling hides what is told
            at.hover(force=True)
            page.mouse.move(0, 0)
            at.hover(force=True)
            if tip.is_visible():
                break
            page.wait_for_timeout(100)
        assert "calibration ratio" in tip.inner_text()


def test_it_prints_on_a_few_pages(browser, sample):
    with shown(browser, sample) as page:
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
        assert len(page.pdf(format="A4")) > 10_000


def test_a_report_of_a_log_from_the_command_line(clicktide, browser, tmp_path):
    rng = np.random.default_rng(0)
    rows = 30_000
    p = rng.uniform(0.01, 0.2, rows)
    log = pa.table(
        {
            "click": (rng.random(rows) < p).astype(int),
            "p": p,
            "ad": rng.choice(["a", "<script>alert(1)</script>", "c"], rows),
        }
    )
    pq.write_table(log, tmp_path / "scored.parquet")
    names = ("--label", "click", "--prediction", "p", "--slices", "ad")
    _, said = clicktide("report", "--from", "scored.parquet", *names)
    assert "30,000 impressions" in said
    with shown(browser, tmp_path / "report.html") as page:
        assert page.locator("#slice-table td", has_text="<script>").count() == 1
