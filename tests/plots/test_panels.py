"""Which curves share an axis."""

import numpy as np
import pytest

from devtrack.plots._panels import arrange
from devtrack.series import Series


def line(metric, site="model"):
    two = np.array([1.0, 2.0])
    return Series(metric, site, np.array([1, 2]), two, two, np.array(["ok", "ok"]))


HEADS = [f"attn.{layer}.head.{head}" for layer in range(2) for head in range(4)]


@pytest.mark.parametrize(
    "curves, panels",
    [
        (
            [line(f"head/{score}", site) for score in ("previous", "prefix") for site in HEADS],
            [
                ("head/prefix (1 of 2)", 4),
                ("head/prefix (2 of 2)", 4),
                ("head/previous (1 of 2)", 4),
                ("head/previous (2 of 2)", 4),
            ],
        ),
        ([line("head/prefix"), *(line("head/previous", s) for s in HEADS[:3])], [("head", 4)]),
        ([line(f"kl.{i}") for i in range(9)], [("kl (1 of 2)", 5), ("kl (2 of 2)", 4)]),
    ],
    ids=["many sites: by metric", "few lines: together", "one site: together"],
)
def test_a_large_family_is_parted_by_metric_where_each_has_several_sites(curves, panels):
    found = arrange(curves, moved=())
    assert [(panel.title, len(panel.curves)) for panel in found] == panels
