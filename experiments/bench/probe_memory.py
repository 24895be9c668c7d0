"""Peak memory of a linear probe on a million activations, and what reading in chunks costs.

    python -m experiments.bench.probe_memory [--rows 1000000] [--units 1024] [--max-memory-gb 0.5]
                                             [--code] [--json]

Batches of 16 sequences of 1024 tokens go through an embedding whose first unit tells even tokens
from odd ones, in noise that every occurrence of a token draws afresh. The best possible accuracy is
known, so that what is lost by taking the mean of the chunks' maps can be read off.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import time
from typing import Any

import torch
from torch import nn

from devtrack import LinearProbe, Subject

SIGNAL = 1.0
SEQUENCES, LENGTH, VOCABULARY = 16, 1024, 1000


class Noisy(nn.Module):
    """Token parity along one unit, plus noise that is the same at each pass."""

    def __init__(self, num_units: int) -> None:
        super().__init__()
        self.num_units = num_units
        self.out = nn.Identity()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return activations, (sequence, token, unit)."""
        seed = int(tokens.double().sum() + 31 * tokens[0, 0] + 1009 * tokens[0, 1])
        rng = torch.Generator().manual_seed(seed)
        x = torch.randn(*tokens.shape, self.num_units, generator=rng)
        x[..., 0] += SIGNAL * (tokens % 2)
        return self.out(x)


def measure(num_rows: int, num_units: int, **options: Any) -> dict[str, float]:
    """Probe so many rows and return what was found, what it cost and what was possible."""
    rng = torch.Generator().manual_seed(0)
    num_batches = math.ceil(num_rows / (SEQUENCES * LENGTH))
    batches = [
        torch.randint(VOCABULARY, (SEQUENCES, LENGTH), generator=rng) for _ in range(num_batches)
    ]
    subject = Subject(Noisy(num_units), 0, batches, lambda m, b: m(b).sum(), torch.Generator())
    probe = LinearProbe(
        site="out",
        labels=lambda batch: batch % 2,
        name="parity",
        **options,
    )
    before_mib, start = _peak_mib(), time.process_time()
    found = {row.metric.rpartition("/")[2]: row for row in probe.compute(subject)}
    return {
        "num_rows": num_batches * SEQUENCES * LENGTH,
        "num_units": num_units,
        "num_chunks": found["accuracy"].attrs["num_chunks"],
        "before_mib": before_mib,
        "peak_mib": _peak_mib(),
        "process_s": round(time.process_time() - start, 1),
        "best_accuracy": round(0.5 * (1 + math.erf(SIGNAL / 2 / math.sqrt(2))), 5),
        **{name: round(row.value, 5) for name, row in found.items()},
        "accuracy_se": round(found["accuracy"].se, 5),
    }


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # KiB on Linux


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--units", type=int, default=1024)
    parser.add_argument("--code", action="store_true", help="the description length too")
    parser.add_argument("--max-memory-gb", type=float, default=0.5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(
        options.rows,
        options.units,
        description_length=options.code,
        max_memory_gb=options.max_memory_gb,
    )
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:18} {value:g}")


if __name__ == "__main__":
    main()
