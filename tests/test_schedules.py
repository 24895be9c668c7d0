from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devtrack.errors import ConfigError
from devtrack.schedules import Cursor, at, every, log_spaced, preview, union

SCHEDULES = st.one_of(
    st.builds(every, st.integers(1, 50)),
    st.builds(log_spaced, st.integers(2, 60)),
    st.builds(at, st.lists(st.integers(0, 500), max_size=20)),
).flatmap(lambda s: st.builds(lambda n: union(s, every(n)), st.integers(1, 50)))


@given(SCHEDULES, st.integers(2, 1000))
def test_steps_ascend_without_repeats(schedule, total):
    steps = list(islice(schedule.steps(total), 100))
    assert steps == sorted(set(steps))


@given(st.integers(2, 200), st.integers(2, 10**6))
def test_log_spaced_ends_on_the_planned_total(num, total):
    steps = preview(log_spaced(num), total=total)
    assert steps[0] == 1
    assert steps[-1] == total
    assert len(steps) <= num


def test_log_spaced_ratios_are_equal_where_integers_allow():
    steps = [s for s in preview(log_spaced(50), total=10**6) if s > 1000]
    ratios = [b / a for a, b in pairwise(steps)]
    assert max(ratios) / min(ratios) < 1.002  # rounding of steps above 1000 moves a ratio by < 1e-3


def test_log_spaced_goes_on_past_the_planned_total():
    steps = list(islice(log_spaced(10).steps(1000), 12))
    assert steps[-1] > 1000


@given(SCHEDULES, st.lists(st.integers(0, 5), max_size=100))
def test_a_cursor_observes_each_crossing_once(schedule, increments):
    """The naive twin: a step is due if a scheduled step lies in (previous, step]."""
    cursor, step, previous = Cursor(schedule, total=300), 0, -1
    for increment in increments:
        step += increment
        scheduled = set(preview(schedule, total=300)) if step <= 300 else set()
        if step > 300:
            break
        expected = any(previous < s <= step for s in scheduled)
        assert cursor.due(step) == expected
        previous = max(previous, step)


def test_gradient_accumulation_and_two_optimizers():
    accumulated = Cursor(every(1))
    assert [accumulated.due(s) for s in (0, 1, 1, 2)] == [False, True, False, True]
    two_optimizers = Cursor(at([3, 6]))
    assert [two_optimizers.due(s) for s in (2, 4, 6)] == [False, True, True]


def test_a_resumed_cursor_does_not_repeat():
    cursor = Cursor(every(10), start=30)
    assert [s for s in (30, 31, 40) if cursor.due(s)] == [40]


@given(SCHEDULES, st.integers(0, 300), st.integers(1, 20), st.lists(st.integers(1, 400)))
def test_the_schedules_own_steps_are_told_and_stay_due(schedule, now, count, added):
    own = preview(schedule, total=400)
    cursor = Cursor(schedule, total=400, start=-1)
    cursor.add(added)
    for step in range(now + 1):
        cursor.due(step)
    told = cursor.scheduled_steps(count)
    assert told == [max([s for s in own if s <= now], default=0), *told[1:]]
    later = list(islice((s for s in schedule.steps(400) if s > now), count))
    assert told[1:] == later
    assert [s for s in range(now + 1, told[-1] + 1) if cursor.due(s) and s not in added] == [
        s for s in later if s not in added
    ]


@given(SCHEDULES, st.lists(st.integers(0, 300), max_size=30), st.integers(0, 300))
def test_added_steps_are_observed_like_scheduled_ones(schedule, added, when):
    """The naive twin: the schedule and, from ``when`` on, the added steps as one set."""
    cursor = Cursor(schedule, total=300)
    seen = [step for step in range(when + 1) if cursor.due(step)]
    cursor.add(added)
    seen += [step for step in range(when + 1, 301) if cursor.due(step)]
    later = {step for step in added if step > when}
    assert seen == sorted({s for s in preview(schedule, total=300)} | later)


@pytest.mark.parametrize("make", [lambda: every(0), lambda: log_spaced(1), lambda: at([-1])])
def test_errors_say_given_allowed_next(make):
    with pytest.raises(ConfigError, match=r"=.*must be an integer of at least.*Pass"):
        make()
