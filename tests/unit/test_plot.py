"""The plot of a run: its formats, its panels, and runs that lack something."""

import math
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from clicktide.plot import check_ending, save_plot
from features.errors import ClicktideError
from learning.progress import Progress

LOSS, EXCESS, CALIBRATION = (
    "Log loss of each window",
    "Excess log loss over a perfect predictor",
    "Calibration: predicted / observed clicks",
)
RELIABILITY = "Reliability of the whole run"


def progress_of(events, *, base=-2.0, truth=False, shift=0.0):
    """A run on simulated clicks; from its middle on, predictions are ``shift`` too high."""
    rng, progress = np.random.default_rng(3), Progress()
    logits = rng.normal(base, 1.0, events)
    true = 1.0 / (1.0 + np.exp(-logits))
    clicks = (rng.random(events) < true).astype(np.float64)
    logits[events // 2 :] += shift
    progress.add(logits, clicks, truth=true if truth else None)
    return progress


def save(path, progress, title="a run"):
    overall = progress.overall
    save_plot(path, progress.windows(), overall.figures(), overall.reliability(), title=title)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw a run, and return its panels by title, without writing an image."""
    figures = []

    def keep(figure, file, **_):
        figures.append(figure)

    def draw(progress, title="a run"):
        save(tmp_path / "run.png", progress, title)
        panels = [axes for part in figures[-1].subfigs for axes in part.axes]
        return {axes.get_title(loc="left"): axes for axes in panels}

    monkeypatch.setattr(Figure, "savefig", keep)
    draw.figures = figures
    return draw


def test_a_png_is_1200_pixels_wide(tmp_path):
    save(tmp_path / "a.png", progress_of(2500, truth=True))
    raw = (tmp_path / "a.png").read_bytes()
    assert raw.startswith(b"\x89PNG")
    assert int.from_bytes(raw[16:20], "big") == 1200


def test_a_pdf_of_a_run_without_clicks_is_written_into_a_new_folder(tmp_path):
    progress = Progress()
    progress.add(np.linspace(-5.0, -2.0, 1200), np.zeros(1200))
    save(tmp_path / "new" / "a.pdf", progress)
    assert (tmp_path / "new" / "a.pdf").read_bytes().startswith(b"%PDF")


def test_an_svg_replaces_the_one_before_and_shows_its_title_as_it_stands(tmp_path):
    """A dollar would begin a formula, and half of one could not be drawn."""
    (tmp_path / "a.SVG").write_text("before")
    save(tmp_path / "a.SVG", progress_of(1500), title=r"$log_{1$ \frac")
    text = (tmp_path / "a.SVG").read_text()
    assert text.startswith("<?xml") and r"$log_{1$ \frac" in text
    assert [path.name for path in tmp_path.iterdir()] == ["a.SVG"]


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.gz"])
def test_another_ending_is_refused_and_the_known_ones_are_named(name):
    with pytest.raises(ClicktideError, match=r"Fix: .*\.png, \.svg, \.pdf"):
        check_ending(name)


def test_an_image_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ClicktideError, match="cannot be written"):
        save(tmp_path / "file" / "a.png", progress_of(1500))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_long_title_fits_the_image(drawn):
    drawn(progress_of(1500), title="x" * 5000)
    [title] = drawn.figures[-1].texts
    box = title.get_window_extent()
    assert 0.0 <= box.x0 < box.x1 <= 1200.0


def test_with_the_truth_known_the_excess_has_a_panel_of_its_own(drawn):
    with_truth = drawn(progress_of(3000, truth=True))
    assert {LOSS, EXCESS, CALIBRATION, RELIABILITY} <= set(with_truth)
    assert EXCESS not in drawn(progress_of(3000))


def test_an_abrupt_change_stands_out_in_excess_and_calibration(drawn):
    panels = drawn(progress_of(40_000, truth=True, shift=1.0))
    for panel in (EXCESS, CALIBRATION):
        values = np.asarray(panels[panel].lines[0].get_ydata())
        low, high = panels[panel].get_ylim()
        step = abs(np.median(values[20:]) - np.median(values[:20]))
        if panel == CALIBRATION:
            step, low, high = math.log(1.0 + step), math.log(low), math.log(high)
        assert step > 0.25 * (high - low)


def test_windows_stand_at_their_middle_and_a_last_one_of_few_events_is_left_out(drawn):
    def places(events):
        return list(drawn(progress_of(events))[LOSS].lines[0].get_xdata())

    assert places(3000) == [500.0, 1500.0, 2500.0]
    assert [len(places(events)) for events in (3050, 3500, 20)] == [3, 4, 1]


def test_the_ratio_axis_is_symmetric_about_1_and_bounded(drawn):
    for base in (-7.0, -2.0, 1.0):
        low, high = drawn(progress_of(8000, base=base))[CALIBRATION].get_ylim()
        assert low * high == pytest.approx(1.0)
        assert 1.1 <= high <= 10.0


@pytest.mark.parametrize(("base", "scale"), [(-4.0, "log"), (-1.0, "linear")])
def test_below_10_percent_clicks_reliability_is_on_log_axes(drawn, base, scale):
    panel = drawn(progress_of(5000, base=base))[RELIABILITY]
    assert (panel.get_xscale(), panel.get_yscale()) == (scale, scale)


def test_both_reliability_axes_have_the_same_limits_with_every_point_inside(drawn):
    for base in (-6.0, -4.0, -1.0, 3.0):
        progress = progress_of(5000, base=base)
        panel = drawn(progress)[RELIABILITY]
        low, high = panel.get_xlim()
        assert (low, high) == panel.get_ylim()
        for one in progress.overall.reliability():
            assert low <= one.predicted <= high
            assert one.observed <= high


@pytest.mark.parametrize("events", [0, 1, 1000])
def test_a_run_without_clicks_or_events_is_drawn_too(drawn, tmp_path, events):
    progress = Progress()
    progress.add(np.full(events, -3.0), np.zeros(events))
    texts = [text.get_text() for text in drawn(progress)[CALIBRATION].texts]
    assert texts == ["no clicks" if events else "no events"]


def test_no_global_state_of_matplotlib_is_loaded():
    code = "import sys, clicktide.plot; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
