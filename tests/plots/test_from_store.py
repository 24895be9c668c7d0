"""Pictures drawn from a store: the right numbers reach the right axis."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from matplotlib.figure import Figure

from devtrack import plots
from devtrack.errors import ConfigError, UnknownRunError
from devtrack.records import ChainTrace, Event, Row, RunInfo, Status, TrainingProgress
from devtrack.series import Move, Transition
from devtrack.store import open_store

STEPS = [0, 1, 3, 10, 30, 100, 300]
NUM_BURNIN, NUM_DRAWS, NUM_CHAINS = 5, 20, 3
RNG = np.random.default_rng(0)
LOSS = 0.5 + 0.1 * RNG.random((NUM_CHAINS, NUM_BURNIN + NUM_DRAWS))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    opened = open_store(tmp_path_factory.mktemp("plots") / "runs", create=True)
    writer = opened.writer(RunInfo("a-1", "alpha", datetime(2026, 11, 21)))
    for index, step in enumerate(STEPS):
        status = Status.SUSPECT if step == 30 else Status.OK
        records = [
            Row("llc", 10.0 + index, 0.5, status=status),
            Row("loss", 4.0 - 0.1 * index),
            Row("lr", 0.003, site="optimizer"),
            *(Row("norm", index + k, site=f"layer.{k}") for k in range(8)),
        ]
        writer.append(TrainingProgress(step), records)
    writer.append(TrainingProgress(10), [Event("lr_change", "learning rate halved")])
    writer.append(TrainingProgress(300), [Event("cost", "7 observations")])
    writer.append(
        TrainingProgress(100), [ChainTrace("llc", LOSS, np.full_like(LOSS, 0.5), NUM_BURNIN)]
    )
    writer.close()
    return opened


def drawn(ax, gid):
    return [artist for artist in [*ax.lines, *ax.patches] if artist.get_gid() == gid]


def axes(figure, label):
    return next(ax for ax in figure.axes if ax.get_label() == label)


def transition():
    move = Move("llc", "model", "up", 5.0, 0.5, 6.0, 20.0, 50.0, 15.0, 25.0)
    return Transition("step", 6.0, 20.0, 50.0, 15.0, 25.0, 0.9, 9.0, "x", 0.01, None, (move,))


def test_a_timeline_draws_what_the_store_holds(store):
    ax = axes(plots.timeline(store, "alpha"), "llc")
    (points,) = drawn(ax, "ok:llc@model")
    assert points.get_xdata().tolist() == [0, 1, 3, 10, 100, 300]
    assert points.get_ydata().tolist() == [10, 11, 12, 13, 15, 16]
    (hollow,) = drawn(ax, "suspect:llc@model")
    assert (hollow.get_xdata().tolist(), hollow.get_ydata().tolist()) == ([30], [14])
    assert drawn(ax, "event:lr_change")
    assert not drawn(ax, "event:cost"), (
        "the tracker's book-keeping is no event of the configuration"
    )


def test_transitions_may_be_given_or_come_from_the_store(store):
    given = plots.timeline(store, "alpha", transitions=[transition()])
    (band,) = drawn(axes(given, "llc"), "band:0")
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((6, 50))
    assert not drawn(axes(plots.timeline(store, "alpha"), "llc"), "band:0")
    row = {
        **{"transition": 0, "onset": 6.0, "midpoint": 20.0, "end_step": 50.0, "alpha": 0.01},
        **{"interval_level": 0.9, "metric": "llc", "site": "model"},
        **{"metric_onset": 8.0, "metric_end": 40.0},
    }
    store.write_transitions("a-1", [row])
    stored = plots.timeline(store, "alpha")
    (band,) = drawn(axes(stored, "llc"), "band:0")
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((6, 50))
    (moved,) = drawn(axes(stored, "llc"), "moved:0")
    assert (moved.get_x(), moved.get_x() + moved.get_width()) == pytest.approx((8, 40))
    assert "level 0.01" in " ".join(" ".join(text.get_text() for text in stored.texts).split())
    assert not drawn(axes(plots.timeline(store, "alpha", transitions=[]), "llc"), "band:0")


def test_a_learning_rate_that_never_changes_is_drawn_when_asked_for(store):
    assert "lr" not in [ax.get_label() for ax in plots.timeline(store).axes]
    figure = plots.timeline(store, metrics=["lr"])
    low, high = axes(figure, "lr").get_ylim()
    assert low < 0.003 < high
    assert high - low > 1e-4, "ticks of a constant must not resolve rounding errors"


def test_globs_choose_metrics_and_sites(store):
    figure = plots.timeline(store, metrics=["l*"])
    assert [ax.get_label() for ax in figure.axes] == ["strip", "loss", "llc", "lr"]
    figure = plots.timeline(store, sites=["layer.[12]"])
    assert len(axes(figure, "norm").containers) == 2


def test_one_metric_on_its_own_page_and_on_an_axis_of_mine(store):
    figure = plots.metric(store, metric="llc", transitions=[transition()])
    assert [ax.get_label() for ax in figure.axes] == ["strip", "llc"]
    mine = Figure()
    ax = mine.add_subplot()
    assert plots.metric(store, metric="llc", transitions=[transition()], ax=ax) is mine
    assert drawn(ax, "ok:llc@model")
    assert drawn(ax, "band:0")
    assert drawn(ax, "stage:2")
    mine.savefig("/dev/null", format="png")


def test_more_lines_than_an_axis_can_show_are_refused(store):
    with pytest.raises(ConfigError, match=r"metric='norm': 8 lines do not fit .* sites="):
        plots.metric(store, metric="norm")
    plots.metric(store, metric="norm", sites=["layer.0"])


def test_chains_are_drawn_above_the_baseline_with_the_burn_in_greyed(store):
    figure = plots.chains(store, "alpha", step=100)
    (ax,) = figure.axes
    for chain in range(NUM_CHAINS):
        (line,) = drawn(ax, f"chain:{chain}")
        assert line.get_xdata().tolist() == list(range(-NUM_BURNIN, NUM_DRAWS))
        assert np.allclose(line.get_ydata(), LOSS[chain] - 0.5)
    (burn_in,) = drawn(ax, "burn-in")
    assert (burn_in.get_x(), burn_in.get_width()) == (-NUM_BURNIN - 0.5, NUM_BURNIN)
    (mean,) = [line for line in ax.collections if line.get_label() == "mean of draws"]
    height = mean.get_segments()[0][0][1]
    assert height == pytest.approx(LOSS[:, NUM_BURNIN:].mean() - 0.5)
    title = ax.get_title(loc="left")
    assert title == "Sampling chains of llc at step 100, run 'alpha'\nestimate 15 ± 0.5, status ok"


def test_chains_of_another_step_name_the_steps_that_have_some(store):
    with pytest.raises(ConfigError, match=r"step=30: no chains .* nearest steps .* are 100\. Pass"):
        plots.chains(store, step=30)
    with pytest.raises(ConfigError, match=r"'loss' at site 'model': the run stored none"):
        plots.chains(store, step=30, metric="loss")


def test_bad_references_are_refused(store):
    with pytest.raises(UnknownRunError):
        plots.timeline(store, "beta")
    with pytest.raises(ConfigError, match=r"metrics='lcl'.*It has llc, loss, lr, norm\. Use one"):
        plots.timeline(store, metrics=["lcl"])
    with pytest.raises(ConfigError, match=r"axis='cubic'"):
        plots.metric(store, metric="llc", axis="cubic")


def test_a_run_without_metrics_is_refused(store):
    store.writer(RunInfo("b-2", "young", datetime(2026, 11, 20))).close()
    with pytest.raises(ConfigError, match=r"has no metrics yet"):
        plots.timeline(store, "young")
