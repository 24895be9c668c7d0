"""What a timeline draws: structure, not pixels."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from devtrack.errors import ConfigError
from devtrack.plots import draw_timeline
from devtrack.series import ConfigEvent, Series
from devtrack.transitions.coverage import Coverage
from tests.made import move, transition

STEP = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256])


def curve(metric, value=None, *, site="model", se=0.1, status=None):
    value = np.linspace(1.0, 2.0, STEP.size) if value is None else np.asarray(value, float)
    status = np.full(STEP.size, "ok", "<U8") if status is None else np.asarray(status)
    return Series(metric, site, STEP, value, np.full(STEP.size, se), status)


def band(midpoint, *, moved=(("llc", "model"),)):
    onset, end = midpoint * 0.8, midpoint * 1.2
    return transition(
        *(move(*one, onset=onset, midpoint=midpoint, end=end) for one in moved),
        onset=midpoint * 0.6,
        midpoint=midpoint,
        end=midpoint * 1.5,
        midpoint_low=midpoint * 0.9,
        midpoint_high=midpoint * 1.1,
        interval_level=0.95,
    )


def axes(figure, label):
    return next(ax for ax in figure.axes if ax.get_label() == label)


def drawn(ax, gid):
    """Return the lines and patches that carry ``gid`` (error bars carry their points' gid too)."""
    return [artist for artist in [*ax.lines, *ax.patches] if artist.get_gid() == gid]


def extent(ax, gid):
    (patch,) = drawn(ax, gid)
    return patch.get_x(), patch.get_x() + patch.get_width()


def texts(figure):
    return " ".join(text.get_text() for ax in figure.axes for text in ax.texts) + " ".join(
        text.get_text() for text in figure.texts
    )


def test_one_panel_per_family_in_the_reader_s_order():
    names = ["weight_norm", "probe/parity/accuracy", "llc", "my_score", "train_loss", "test_loss"]
    figure = draw_timeline([curve(name) for name in names])
    labels = [ax.get_label() for ax in figure.axes]
    assert labels == ["strip", "loss", "llc", "probe/parity", "my_score", "weight_norm"]
    assert [ax.get_title(loc="left") for ax in figure.axes][1:3] == [
        "loss",
        r"local learning coefficient $\hat{\lambda}$ (lower: simpler, more degenerate)",
    ]
    assert [ax.get_xlabel() for ax in figure.axes] == [""] * 5 + ["optimizer step"]


def test_every_point_is_drawn_once_by_its_status():
    status = ["ok"] * 6 + ["suspect", "suspect", "failed", "ok"]
    value = [1, 2, 1, 2, 1, 2, 1.5, 1e6, np.nan, 2]
    ax = axes(draw_timeline([curve("llc", value, status=status)]), "llc")

    (trusted,) = drawn(ax, "ok:llc@model")
    assert trusted.get_xdata().tolist() == [0, 1, 2, 4, 8, 16, 256]
    assert trusted.get_markerfacecolor() != "white"
    (hollow,) = drawn(ax, "suspect:llc@model")
    assert hollow.get_xdata().tolist() == [32]
    assert hollow.get_markerfacecolor() == "white"
    (outside,) = drawn(ax, "outside:llc@model")
    assert outside.get_xdata().tolist() == [64]
    assert (outside.get_marker(), outside.get_markerfacecolor()) == ("^", "white")
    (failed,) = drawn(ax, "failed:llc@model")
    assert failed.get_xdata().tolist() == [128]
    assert failed.get_marker() == "x"
    assert ax.get_ylim()[1] < 3, "one diverged estimate must not flatten the curve"
    (line,) = drawn(ax, "line:llc@model")
    assert line.get_xdata().tolist() == trusted.get_xdata().tolist()


def test_error_bars_show_one_standard_error():
    ax = axes(draw_timeline([curve("llc", se=0.25)]), "llc")
    (container,) = ax.containers
    segments = container.lines[2][0].get_segments()
    assert len(segments) == STEP.size
    assert np.allclose([np.ptp(segment[:, 1]) for segment in segments], 0.5)


def test_unknown_standard_errors_draw_points_without_bars():
    figure = draw_timeline([curve("llc", se=np.nan)])
    (container,) = axes(figure, "llc").containers
    assert np.allclose([np.ptp(s[:, 1]) for s in container.lines[2][0].get_segments()], 0)
    assert "standard error" not in texts(figure)


def test_bands_midpoints_and_intervals_stand_where_the_transition_is():
    figure = draw_timeline([curve("llc"), curve("loss")], bands=[band(20)])
    for label in ("llc", "loss"):
        ax = axes(figure, label)
        assert extent(ax, "band:0") == pytest.approx((12, 30))
        (midpoint,) = drawn(ax, "midpoint:0")
        assert list(midpoint.get_xdata()) == [20, 20]
    strip = axes(figure, "strip")
    (interval,) = drawn(strip, "interval:0")
    assert list(interval.get_xdata()) == pytest.approx([18, 22])
    assert "T0" in texts(figure)


def test_the_band_is_darker_where_lines_of_the_panel_changed():
    figure = draw_timeline([curve("llc"), curve("loss")], bands=[band(20)])
    assert extent(axes(figure, "llc"), "moved:0") == pytest.approx((16, 24))
    assert not drawn(axes(figure, "loss"), "moved:0")
    (whole,), (moved,) = (drawn(axes(figure, "llc"), f"{kind}:0") for kind in ("band", "moved"))
    assert sum(moved.get_facecolor()[:3]) < sum(whole.get_facecolor()[:3])
    assert moved.get_zorder() > whole.get_zorder()
    assert moved.get_facecolor()[3] == whole.get_facecolor()[3] == 1, "opaque: bands may overlap"


def test_stages_and_bands_differ_in_grey():
    figure = draw_timeline([curve("llc")], bands=[band(8), band(60)])
    ax = axes(figure, "llc")
    kinds = ("stage:2", "band:0", "moved:0")
    red, green, blue = np.array([drawn(ax, kind)[0].get_facecolor()[:3] for kind in kinds]).T
    grey = 0.299 * red + 0.587 * green + 0.114 * blue  # Rec. 601, as printers do
    assert (np.diff(grey) < -0.05).all(), grey


def test_transitions_close_together_share_a_name_and_part_their_intervals():
    close = [band(20), band(21), band(22), band(120)]
    figure = draw_timeline([curve("llc")], bands=close)
    strip = axes(figure, "strip")
    assert {text.get_text() for text in strip.texts if text.get_text()[0] == "T"} == {"T0–T2", "T3"}
    heights = [drawn(strip, f"interval:{index}")[0].get_ydata()[0] for index in range(4)]
    assert len(set(heights[:3])) == 3
    assert heights[3] == heights[0]


def test_a_turn_has_a_mark_of_its_own_and_the_caption_says_so():
    bands = [band(8), band(100)._replace(kind="turn")]
    figure = draw_timeline([curve("llc")], bands=bands)
    strip = axes(figure, "strip")
    shapes = [drawn(strip, f"dot:{k}")[0].get_marker() for k in range(2)]
    assert shapes == ["o", "^"]
    assert "Triangle: a turn" in " ".join(texts(figure).split())
    assert "Triangle: a turn" not in texts(draw_timeline([curve("llc")], bands=bands[:1]))


def test_an_unknown_interval_is_left_out():
    blurred = band(20)._replace(midpoint_low=np.nan, midpoint_high=np.nan)
    figure = draw_timeline([curve("llc")], bands=[blurred])
    assert not drawn(axes(figure, "strip"), "interval:0")
    assert "T0 at step 20" in texts(figure)


def test_stages_lie_between_the_transitions():
    figure = draw_timeline([curve("llc")], bands=[band(4), band(60)])
    ax = axes(figure, "llc")
    low, high = ax.get_xlim()
    spans = [extent(ax, f"stage:{number}") for number in (1, 2, 3)]
    assert np.allclose(spans, [(low, 2.4), (6, 36), (90, high)])
    assert "stage 1" in texts(figure)


def test_overlapping_transitions_leave_no_stage_between_them():
    wide = band(20)._replace(end=60)
    ax = axes(draw_timeline([curve("llc")], bands=[wide, band(50)]), "llc")
    assert drawn(ax, "stage:2")
    assert not drawn(ax, "stage:3")


def test_a_change_at_an_event_is_shown_but_parts_no_stages():
    figure = draw_timeline([curve("llc")], bands=[band(20)._replace(event="lr_change"), band(100)])
    ax = axes(figure, "llc")
    explained, own = drawn(ax, "band:0")[0], drawn(ax, "band:1")[0]
    assert explained.get_facecolor()[:3] != own.get_facecolor()[:3]
    assert (explained.get_hatch(), own.get_hatch()) == ("////", None), "told apart in grey too"
    assert extent(ax, "stage:1")[1] == pytest.approx(60)
    assert not drawn(ax, "stage:3")
    assert "(lr change)" in texts(figure)
    assert "coincides with an event" in " ".join(texts(figure).split())


def test_events_are_marked_and_named():
    figure = draw_timeline([curve("llc")], marks=[ConfigEvent(40, "lr_change")])
    (line,) = drawn(axes(figure, "llc"), "event:lr_change")
    assert list(line.get_xdata()) == [40, 40]
    assert "lr change" in texts(figure)


def test_an_event_beside_a_transition_is_named_beside_its_line():
    figure = draw_timeline([curve("llc")], bands=[band(40)], marks=[ConfigEvent(46, "lr_change")])
    strip = axes(figure, "strip")
    (name,) = [text for text in strip.texts if text.get_text() == "lr change"]
    (first,) = [text for text in strip.texts if text.get_text() == "T0"]
    assert name.get_position()[0] > first.get_position()[0] + 0.02


def test_where_nothing_is_marked_it_says_what_could_not_be_judged():
    few = {"fewer than 10 ok points": ("llc\nmine (52 suspect)", *("a" * 30 for _ in range(4)))}
    told = draw_timeline([curve("llc")], coverage=Coverage((), few)).texts[1].get_text()
    assert told.startswith(
        "no transition marked; no series could be evaluated; fewer than 10 ok points: llc mine ("
    )
    assert len(told) < 110
    assert told.endswith("…"), "no room for all names"
    assert "judged" not in texts(draw_timeline([curve("llc")], coverage=Coverage(("llc",), {})))
    assert "judged" not in texts(
        draw_timeline([curve("llc")], bands=[band(20)], coverage=Coverage((), few))
    )


def test_the_caption_names_the_false_alarm_level_and_only_marks_that_are_there():
    plain = texts(draw_timeline([curve("llc")]))
    assert "no transition marked" in plain
    assert "at 10 steps." in plain
    one = Series("llc", "model", STEP[:1], np.ones(1), np.ones(1), np.array(["ok"]))
    assert "at 1 step." in texts(draw_timeline([one]))
    assert "Hollow" not in plain
    assert "failed" not in plain
    with_band = texts(draw_timeline([curve("llc")], bands=[band(20)]))
    assert "False-alarm level 0.05" in " ".join(with_band.split())
    assert "95%" in with_band


def test_step_zero_has_a_finite_place_on_the_log_axis():
    ax = axes(draw_timeline([curve("llc")]), "llc")
    zero, one, ten = (ax.transData.transform((step, 1.0))[0] for step in (0, 1, 10))
    left = ax.transAxes.transform((0, 0))[0]
    assert left < zero < one < ten
    assert 0 in ax.get_xticks()


def test_the_linear_axis_is_linear():
    ax = axes(draw_timeline([curve("llc")], axis="linear"), "llc")
    places = [ax.transData.transform((step, 1.0))[0] for step in (0, 100, 200)]
    assert places[2] - places[1] == pytest.approx(places[1] - places[0])


def test_a_loss_over_decades_gets_a_log_value_axis_and_an_llc_does_not():
    falling = np.geomspace(4, 1e-6, STEP.size)
    figure = draw_timeline([curve("loss", falling), curve("llc", falling)])
    assert axes(figure, "loss").get_yscale() == "log"
    assert axes(figure, "llc").get_yscale() == "linear"


def test_thirty_lines_are_spread_over_panels_that_label_each_of_them():
    heads = [curve("attention/score", site=f"blocks.{k // 8}.head.{k % 8}") for k in range(30)]
    figure = draw_timeline(heads)
    panels = [ax for ax in figure.axes if ax.get_label() == "attention"]
    assert [len(ax.containers) for ax in panels] == [6] * 5
    written = texts(figure)
    assert all(one.site in written for one in heads)
    assert panels[0].get_title(loc="left") == "attention/score (1 of 5)"


def test_long_paths_are_named_by_what_parts_them_and_no_two_alike():
    sites = [f"model.blocks.{k // 4}.attention.heads.{k % 4}" for k in range(8)]
    figure = draw_timeline([curve("rllc", site=site) for site in sites])
    panels = [ax for ax in figure.axes if ax.get_label() == "rllc"]
    assert [len(ax.containers) for ax in panels] == [4, 4], "not six and two"
    names = [text.get_text() for ax in panels for text in ax.texts if text.get_text()]
    assert set(names) == {f"…blocks.{k // 4}…heads.{k % 4}" for k in range(8)}
    deep = [f"encoder.layers.first.{k}.attention.output.projection" for k in range(3)]
    ragged = [curve("w", site=site) for site in (*deep, "decoder")]
    names = [text.get_text() for text in axes(draw_timeline(ragged), "w").texts]
    assert len({name for name in names if name}) == 4


def test_a_title_keeps_within_its_column():
    long = "a_metric_with_a_name_that_is_much_too_long_for_a_narrow_column"
    many = [curve(name) for name in ("llc", long, *(f"m{k}" for k in range(12)))]
    figure = draw_timeline(many)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for ax in figure.axes:
        if ax.get_title(loc="left"):
            extent_px = ax._left_title.get_window_extent(renderer)
            column = 0 if extent_px.x0 < figure.bbox.width / 2 else 1
            assert extent_px.x1 <= (column + 1) * figure.bbox.width / 2
    assert "simpler" not in axes(figure, "llc").get_title(loc="left")
    assert "simpler" in axes(draw_timeline([curve("llc")]), "llc").get_title(loc="left")


WIDE = "m" * 120


POWERS = [-15, 0, 9]


def assert_titles_stay_in_place(figure):
    """Return the power of ten of each panel with a title."""
    figure.canvas = FigureCanvasAgg(figure)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = {ax: ax.get_window_extent(renderer) for ax in figure.axes}
    seen = []
    for ax in figure.axes:
        if title := ax.get_title(loc="left"):
            box = ax._left_title.get_window_extent(renderer)
            assert box.x1 <= boxes[ax].x1 + 0.5 * figure.dpi, "a column's names stand beside it"
            assert not any(box.overlaps(other) for other in boxes.values())
            seen.append(round(np.log10(ax.lines[0].get_ydata()[0])))
            assert ("×1e" in title) == (seen[-1] != 0)
            assert not ax.yaxis.get_offset_text().get_visible()
    return seen


def rising(power):
    return np.linspace(1.0, 2.0, STEP.size) * 10.0**power


@pytest.mark.parametrize("name", ["m_{k}", WIDE + "{k}", "new\nline {k}", "$" * 90 + "{k}"])
def test_no_title_leaves_its_place_whatever_its_letters_and_its_unit(name):
    powers = [*POWERS, *POWERS, POWERS[0]]
    curves = [curve(name.format(k=k), rising(power)) for k, power in enumerate(powers)]
    # 11 panels: two columns, and names in both
    figure = draw_timeline([*curves, *(curve(f"x{k}") for k in range(4))])
    assert sorted(assert_titles_stay_in_place(figure)) == sorted([*powers, 0, 0, 0, 0])


@pytest.mark.parametrize("power", POWERS)
def test_no_title_of_many_sites_leaves_its_place_whatever_its_unit(power):
    curves = [curve("llc", rising(power), site=f"s{k}") for k in range(12)]
    # 10 panels: two columns, and names in both
    figure = draw_timeline([*curves, *(curve(f"x{k}") for k in range(8))])
    assert set(assert_titles_stay_in_place(figure)) == {power, 0}


def test_what_ticks_are_beside_a_level_stands_in_the_title():
    level = 1e6 + np.linspace(0.0, 1e-3, STEP.size)
    assert axes(draw_timeline([curve("a", level, se=1e-5)]), "a").get_title("left") == "a (+1e6)"


def test_a_long_site_after_a_formula_is_cut_and_the_formula_is_not():
    many = [curve(f"x{k}") for k in range(10)]
    figure = draw_timeline([curve("llc", site=f"a.{WIDE}.end"), *many])
    title = axes(figure, "llc").get_title(loc="left")
    assert title.startswith(r"local learning coefficient $\hat{\lambda}$ at a")
    assert "…" in title
    assert title.endswith("m.end")


def test_names_on_several_lines_are_written_on_one():
    names = ["w.a\nb", "w.c\n\nd"]
    figure = draw_timeline(
        [curve(name) for name in names], marks=[ConfigEvent(4, "my\nevent")], title="two\nlines"
    )
    assert "\n" not in "".join(t.get_text() for ax in figure.axes for t in ax.texts)
    assert figure.texts[0].get_text() == "two lines"


def test_labels_of_lines_that_end_together_do_not_overlap():
    figure = draw_timeline([curve("w", site=f"layer.{k}") for k in range(6)])
    ax = axes(figure, "w")
    heights = sorted(text.get_position()[1] for text in ax.texts if text.get_text())
    gap_pt = np.diff(heights) * ax.get_position().height * figure.get_figheight() * 72
    assert (gap_pt > 9.5).all()


def test_lines_of_a_panel_differ_in_colour_and_marker_and_dash():
    ax = axes(draw_timeline([curve("w", site=f"layer.{k}") for k in range(6)]), "w")
    lines = [drawn(ax, f"line:w@layer.{k}")[0] for k in range(6)]
    points = [drawn(ax, f"ok:w@layer.{k}")[0] for k in range(6)]
    assert len({line.get_color() for line in lines}) == 6
    assert len({point.get_marker() for point in points}) == 6
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == 6


def test_a_family_of_hundreds_says_which_share_it_shows():
    quiet = [curve("act", np.full(STEP.size, 1.0), site=f"unit.{k}") for k in range(60)]
    mover = curve("act", np.full(STEP.size, 1.0), site="unit.777")
    figure = draw_timeline([*quiet, mover], bands=[band(20, moved=[("act", "unit.777")])])
    assert "48 of 61 lines" in axes(figure, "act").get_title(loc="left")
    assert "unit.777" in texts(figure)


def test_names_with_dollar_signs_are_taken_literally(tmp_path):
    figure = draw_timeline(
        [curve("cost_$a$_b"), curve("w", site="a$b$"), curve("w", site="c_d")], title="run $x_1$"
    )
    figure.savefig(tmp_path / "timeline.png")
    assert "run $x_1$" in texts(figure)


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_a_run_of_one_failed_point_can_still_be_drawn(tmp_path, kind):
    lone = Series(
        "llc", "model", np.array([5]), np.array([np.nan]), np.array([np.nan]), np.array(["failed"])
    )
    draw_timeline([lone]).savefig(tmp_path / f"timeline.{kind}")


def test_constant_zero_curves_can_be_drawn(tmp_path):
    draw_timeline([curve("loss", np.zeros(STEP.size))]).savefig(tmp_path / "timeline.png")


def test_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match=r"axis='logarithmic': must be 'log' or 'linear'\. Use"):
        draw_timeline([curve("llc")], axis="logarithmic")
    with pytest.raises(ConfigError, match=r"at least one curve"):
        draw_timeline([])


def test_pyplot_and_an_early_matplotlib_stay_out():
    program = """
import sys
import devtrack.plots
assert "matplotlib" not in sys.modules, "imported before it was needed"
import numpy as np
from devtrack.series import Series
one = np.array([1.0])
devtrack.plots.draw_timeline([Series("llc", "model", np.array([1]), one, one, np.array(["ok"]))])
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
