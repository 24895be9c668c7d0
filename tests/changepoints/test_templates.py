"""The shapes that the detector looks for."""

import numpy as np
import pytest

from devtrack.changepoints._step_scale import Axis
from devtrack.changepoints._templates import (
    KINK,
    STEP,
    columns,
    is_admissible,
    kink,
    level_change,
    make_template_bank,
    max_transition_width,
)
from tests.changepoints.models import CONFIG

U = np.linspace(0, 1, 81)


def test_the_width_of_a_level_change_is_from_5_to_95_percent():
    ends = np.array([0.4, 0.5, 0.6])
    assert level_change(ends, 0.5, 0.2)[:, 0] == pytest.approx([0.05, 0.5, 0.95])


def test_a_bend_has_slope_0_before_and_1_after():
    far = np.array([0.1, 0.2, 0.8, 0.9])
    assert kink(far, 0.5, 0.05)[:, 0] == pytest.approx([0, 0, 0.3, 0.4], abs=1e-9)
    assert 0 < kink(np.array([0.5]), 0.5, 0.05)[0, 0] < 0.05, "rounded"


def test_columns_are_those_of_each_kind():
    both = columns(U, [STEP, KINK], [0.3, 0.6], [0.05, 0.02])
    assert both[:, [0]] == pytest.approx(level_change(U, 0.3, 0.05))
    assert both[:, [1]] == pytest.approx(kink(U, 0.6, 0.02))


def test_the_bank_has_every_width_at_every_place():
    bank = make_template_bank(U, 0.12, CONFIG.templates)
    classes = bank.classes()
    widths = [(int(bank.kind[c.start]), float(bank.width[c.start])) for c in classes]
    steps = [w for w in CONFIG.templates.step_widths if w < 0.12] + [0.12]
    assert widths == [(STEP, w) for w in steps] + [(KINK, w) for w in CONFIG.templates.kink_widths]
    for rows in classes:
        assert bank.mid[rows] == pytest.approx(bank.place)
        assert np.ptp(bank.width[rows]) == 0
    assert bank.shape(0) == (STEP, float(bank.place[0]), steps[0])


@pytest.mark.parametrize("num", [20, 81])
def test_no_place_lies_at_the_ends_or_on_a_snapshot(num):
    u, edge = np.linspace(0, 1, num), CONFIG.templates.edge
    place = make_template_bank(u, 0.12, CONFIG.templates).place
    assert place.min() > max(edge, u[3])
    assert place.max() < min(1 - edge, u[-4])
    assert np.abs(place[:, None] - u).min() > 0.4 / num


def test_places_are_no_more_than_the_configuration_allows():
    many = make_template_bank(np.linspace(0, 1, 1000), 0.12, CONFIG.templates).place
    assert many.size <= CONFIG.templates.max_places


def test_snapshots_crowded_at_an_end_leave_no_bank():
    crowded = np.append(np.linspace(0, 0.01, 20), 1.0)
    assert make_template_bank(crowded, 0.12, CONFIG.templates) is None


def test_the_widest_change_is_a_share_of_the_run_and_of_its_decades():
    assert max_transition_width(Axis("linear", 0, 1e6), CONFIG.templates) == 0.25
    assert max_transition_width(Axis("log", 0, 99), CONFIG.templates) == 0.25
    assert max_transition_width(Axis("log", 0, 1e6 - 1), CONFIG.templates) == pytest.approx(0.15)


def test_a_bend_needs_a_slope_on_either_side():
    mids = [0.005, 0.05, 0.5, 0.95, 0.995]
    assert is_admissible(STEP, mids).tolist() == [False, True, True, True, False]
    assert is_admissible(KINK, mids).tolist() == [False, False, True, False, False]
