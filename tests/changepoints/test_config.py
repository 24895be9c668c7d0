"""The constants of the detectors."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

import devtrack.changepoints
from devtrack.changepoints import DetectorConfig, OnlineDetector, OnlineDetectorConfig, detect
from devtrack.changepoints.config import SelectionConfig, SignificanceConfig
from devtrack.series import Series

FOLDER = Path(devtrack.changepoints.__file__).parent
CODE = "".join(p.read_text() for p in FOLDER.rglob("*.py") if p.name != "config.py")


def groups(config):
    """Yield a configuration and those inside it."""
    yield config
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from groups(value)


FIELDS = sorted(
    {
        (type(group), field.name)
        for config in (DetectorConfig(), OnlineDetectorConfig())
        for group in groups(config)
        for field in dataclasses.fields(group)
    },
    key=lambda pair: (pair[0].__name__, pair[1]),
)
IDS = [f"{group.__name__}.{name}" for group, name in FIELDS]


@pytest.mark.parametrize("group, name", FIELDS, ids=IDS)
def test_every_constant_is_described_and_read(group, name):
    assert re.search(rf"^ +{name}: \S+ .+", group.__doc__, re.MULTILINE)
    assert re.search(rf"\.{name}\b", CODE), "no code reads it"


def a_step(height):
    u, rng = np.linspace(0, 1, 80), np.random.default_rng(0)
    return Series("m", "model", np.arange(80) * 50, height * (u > 0.5) + rng.standard_normal(80))


def test_detect_takes_the_configuration_it_is_given():
    assert len(detect([a_step(10)])) == 1
    strict = DetectorConfig(
        selection=SelectionConfig(step_penalty=1e9),
        significance=SignificanceConfig(max_joint_changes=0),
    )
    assert detect([a_step(10)], config=strict) == []


def test_the_p_value_is_that_of_the_configuration():
    loose, strict = (
        detect(
            [a_step(3)],
            config=DetectorConfig(significance=SignificanceConfig(p_value_inflation=factor)),
        )[0].evidence
        for factor in (1.0, 2.0)
    )
    assert strict == pytest.approx(2 * loose)


def test_the_online_detector_takes_the_configuration_it_is_given():
    late = OnlineDetector(config=OnlineDetectorConfig(min_points_known=60))
    early = OnlineDetector()
    value = a_step(20).value
    alarms = {late: [], early: []}
    for step, number in enumerate(value):
        for detector, at in alarms.items():
            if detector.update(step, {"m": (float(number), 1.0)}):
                at.append(step)
    assert early.config == OnlineDetectorConfig()
    assert 40 <= alarms[early][0] < 50
    assert all(step >= 59 for step in alarms[late])
