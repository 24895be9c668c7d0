"""What a reader does about files that it cannot read at this moment: wait, then go without."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from devtrack.store._layout import StoreWarning
from devtrack.store._quarantine import Fault

_WAITS_S = (0.1, 0.4, 1.5)
_AGAIN_S = 60.0


class LeftOut:
    """Files that one reader goes without; each is tried again after a minute."""

    def __init__(self) -> None:
        self._until: dict[Path, float] = {}

    def paths(self) -> set[Path]:
        """Return the files that it is too early to try again."""
        now = time.monotonic()
        self._until = {path: until for path, until in self._until.items() if until > now}
        return set(self._until)

    def wait_or_add(self, unreadable: Sequence[Fault], *, num_waits: int) -> None:
        """Wait for files that cannot be read; leave them out by name if that has not helped.

        Args:
            unreadable: What this process cannot read.
            num_waits: How often the query has waited already.
        """
        if num_waits < len(_WAITS_S):
            time.sleep(_WAITS_S[num_waits])
            return
        for path, complaint in unreadable:
            self._until[path] = time.monotonic() + _AGAIN_S
            warnings.warn(
                f"{path}: cannot be read ({complaint}). Its rows are left out of this reader's "
                f"results; the file stays, and is tried again after {_AGAIN_S:.0f} s. "
                "Check its permissions and the disk.",
                StoreWarning,
                stacklevel=5,
            )
