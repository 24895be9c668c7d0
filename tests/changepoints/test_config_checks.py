"""Values of a configuration that are refused."""

import pytest

from devtrack.changepoints import DetectorConfig, OnlineDetector, OnlineDetectorConfig, detect
from devtrack.errors import ConfigError
from tests.changepoints.test_config import FIELDS, IDS


@pytest.mark.parametrize("group, name", FIELDS, ids=IDS)
def test_a_value_of_another_kind_is_refused_in_three_parts(group, name):
    message = rf"^{name}=.*: must be .+\. Use {name}=.+\.$"
    for wrong in ("a lot", None, object(), float("nan")):
        with pytest.raises(ConfigError, match=message):
            group(**{name: wrong})
    if isinstance(getattr(group(), name), tuple):
        for wrong in ((), ("a",)):
            with pytest.raises(ConfigError, match=message):
                group(**{name: wrong})


def test_the_configuration_of_the_other_detector_is_refused():
    with pytest.raises(ConfigError, match="config=.*must be an instance of DetectorConfig"):
        detect([], config=OnlineDetectorConfig())
    with pytest.raises(ConfigError, match="config=.*must be an instance of OnlineDetectorConfig"):
        OnlineDetector(config=DetectorConfig())
