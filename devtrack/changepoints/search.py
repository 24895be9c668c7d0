"""Which changes a run holds: candidates added one by one, moved to where they fit best.

The search is generous: it keeps adding while a candidate has any odds in its favour, and then lets
every candidate find its best place given all others. Whether a candidate is to be believed is
decided afterwards (``calibrate``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from devtrack.changepoints.curve import Curve
from devtrack.changepoints.joint import BEND, LAG, LAG_PER_WIDTH, STEP, Windows, evidence
from devtrack.changepoints.locate import locate
from devtrack.changepoints.scan import Scanner
from devtrack.changepoints.templates import columns
from devtrack.changepoints.trend import relaxation_columns

Array = npt.NDArray[np.floating]

MAX_CHANGES = 9
STOP = 0.3  # log odds below which nothing more is added
POINTS_PER_CHANGE = 6
SHARE = 8.0  # gain from which a series is taken to move along with others
APART = 0.02  # least distance of two changes of one series, beyond ...
APART_PER_WIDTH = 0.2  # ... this share of the sum of their widths
NEAR = 0.03  # how far a candidate is moved once the series have been matched
BEND_PENALTY = 1.5  # log odds: a level change is the simpler story


@dataclass(frozen=True)
class Part:
    """One series' template in a candidate: which series, where its middle lies, how wide."""

    series: int
    mid: float
    width: float


@dataclass(frozen=True)
class Candidate:
    """A change that several series may share.

    Args:
        kind: ``joint.STEP`` or ``joint.BEND``.
        place: Position on the axis.
        evidence: Log odds (``joint.evidence``) given all other candidates.
        parts: The series that take part.
    """

    kind: int
    place: float
    evidence: float
    parts: tuple[Part, ...]


class Search:
    """The state of the search over one run.

    Args:
        curves: The run's series.
        scanners: One per series.
        windows: Which templates speak for which place.
        witness: Whether a series may carry a transition alone.
    """

    def __init__(
        self,
        curves: list[Curve],
        scanners: list[Scanner],
        windows: Windows,
        witness: list[bool],
    ) -> None:
        self.curves, self.scanners = curves, scanners
        self.windows, self.witness = windows, witness
        self._cache: dict[tuple, Array] = {}

    def run(self) -> list[Candidate]:
        """Return all candidates, in no order."""
        found: list[Candidate] = []
        most = min(MAX_CHANGES, max(c.u.size for c in self.curves) // POINTS_PER_CHANGE)
        while len(found) < most:
            candidate = self.best(found)
            if candidate is None or candidate.evidence < STOP:
                break
            found = self.polish([*found, candidate], rounds=1)
        found = self.regroup(self.polish(found, rounds=2))
        return self.regroup(self.polish(found, rounds=2, reach=NEAR))

    def best(
        self, given: list[Candidate], *, near: Candidate | None = None, reach: float = 1.0
    ) -> Candidate | None:
        """Return the best further candidate given others; None when no series would take part.

        Args:
            given: The other candidates.
            near: Only candidates of this one's kind and within ``reach`` of its place.
            reach: Fraction of the axis.
        """
        gains = [
            np.where(self._taken(s, given), 0.0, self.gains(s, given, fast=True))
            for s in range(len(self.curves))
        ]
        options = []
        place_all = self.windows.bank.place
        for kind in (STEP, BEND) if near is None else (near.kind,):
            local = [self.windows.local(g, kind) for g in gains]
            total = evidence(local, self.witness) - (BEND_PENALTY if kind == BEND else 0.0)
            if near is not None:
                total = np.where(np.abs(place_all - near.place) <= reach, total, -np.inf)
            if total.size and np.isfinite(total).any():
                i = int(np.argmax(total))
                options.append((float(total[i]), kind, float(self.windows.bank.place[i])))
        if not options:
            return None
        odds, kind, place = max(options)
        parts = self._parts(gains, kind, place)
        return Candidate(kind, place, odds, self._refined(kind, parts, given)) if parts else None

    def polish(
        self, found: list[Candidate], *, rounds: int, reach: float | None = None
    ) -> list[Candidate]:
        """Let every candidate find its best place given the others, within ``reach`` if set."""
        for _ in range(rounds):
            moved = False
            for i in range(len(found)):
                others = found[:i] + found[i + 1 :]
                if reach is None:
                    again = self.best(others)
                else:
                    again = self.best(others, near=found[i], reach=reach)
                if again is None or again.evidence < found[i].evidence - 1e-9:
                    continue
                moved |= again.parts != found[i].parts
                found = [*found[:i], again, *found[i + 1 :]]
            if not moved:
                break
        return found

    def regroup(self, found: list[Candidate]) -> list[Candidate]:
        """Match the parts of all candidates anew: those that lie together belong together.

        A candidate put between two changes may have taken one part from each.
        """
        out = []
        for kind in (STEP, BEND):
            parts = sorted(
                (p for c in found if c.kind == kind for p in c.parts), key=lambda p: p.mid
            )
            groups: list[list[Part]] = [[p] for p in parts]
            while (pair := _closest(groups)) is not None:
                i, j = pair
                groups[i] += groups.pop(j)
            for group in groups:
                place = float(np.median([p.mid for p in group]))
                nearest = self.windows.bank.place[
                    np.argmin(np.abs(self.windows.bank.place - place))
                ]
                odds = max(c.evidence for c in found for p in c.parts if p in group)
                out.append(Candidate(kind, float(nearest), odds, tuple(group)))
        return out

    def weigh(self, found: list[Candidate], i: int, *, fast: bool = False) -> float:
        """Return the evidence for candidate ``i`` at its own place given all others."""
        return self.evidence(found[i], found[:i] + found[i + 1 :], fast=fast)

    def evidence(self, c: Candidate, given: list[Candidate], *, fast: bool = False) -> float:
        """Return the evidence for a change of the kind and place of ``c`` given others."""
        gains = [self.gains(s, given, fast=fast) for s in range(len(self.curves))]
        local = [self.windows.local(g, c.kind) for g in gains]
        total = evidence(local, self.witness) - (BEND_PENALTY if c.kind == BEND else 0.0)
        return float(total[int(np.argmin(np.abs(self.windows.bank.place - c.place)))])

    def gains(self, s: int, given: list[Candidate], *, fast: bool = False) -> Array:
        """Return the gains of all templates for one series given candidates."""
        key = (
            s,
            fast,
            tuple(
                sorted((c.kind, p.mid, p.width) for c in given for p in c.parts if p.series == s)
            ),
        )
        if key not in self._cache:
            self._cache[key] = self.scanners[s].gains(
                self.curves[s].y,
                extra=np.hstack([self.extra(s, given), self.trend(s, given)]),
                fast=fast,
            )
        return self._cache[key]

    def nuisance(self, s: int, given: list[Candidate]) -> Array:
        """Return one series' columns of candidates and free relaxations, in this order."""
        return np.hstack([self.extra(s, given), self.trend(s, given)])

    def trend(self, s: int, given: list[Candidate]) -> Array:
        """Return one series' relaxations with free weights, given candidates, (point, column)."""
        curve, scanner = self.curves[s], self.scanners[s]
        extra = np.hstack([self.extra(s, given), scanner.free[:, 2:]])
        return relaxation_columns(curve.step, curve.y, curve.h, extra=extra)

    def extra(self, s: int, given: list[Candidate]) -> Array:
        """Return one series' columns of the given candidates, (point, column)."""
        mine = [(c.kind, p.mid, p.width) for c in given for p in c.parts if p.series == s]
        u = self.curves[s].u
        if not mine:
            return np.empty((u.size, 0))
        kind, mid, width = (np.array(a) for a in zip(*mine))
        return columns(u, kind, mid, width)

    def _taken(self, s: int, given: list[Candidate]) -> npt.NDArray[np.bool_]:
        """Say which templates lie on a change that one series already has, (template,)."""
        bank = self.windows.bank
        taken = np.zeros(bank.mid.size, bool)
        for c in given:
            for p in c.parts:
                if p.series == s:
                    reach = APART + APART_PER_WIDTH * (bank.width + p.width)
                    taken |= np.abs(bank.mid - p.mid) < reach
        return taken

    def _refined(
        self, kind: int, parts: tuple[Part, ...], given: list[Candidate]
    ) -> tuple[Part, ...]:
        """Move templates off the bank's grid to where they fit best."""
        out = []
        for p in parts:
            curve, scanner = self.curves[p.series], self.scanners[p.series]
            others = self.nuisance(p.series, given)
            own = columns(curve.u, kind, p.mid, p.width)
            setting = scanner.setting(curve.y, extra=np.hstack([others, own]))
            reach = 0.012 if kind == BEND else 0.012 + 0.3 * p.width
            fit = locate(
                curve.y,
                curve.u,
                scanner,
                setting=setting,
                others=others,
                place=p.mid,
                reach=reach,
                widths=(p.width / 2.2, min(p.width * 2.2, self.windows.widest)),
                is_bend=kind == BEND,
                coarse=True,
            )
            out.append(Part(p.series, fit.best_mid, fit.best_width))
        return tuple(out)

    def _parts(self, gains: list[Array], kind: int, place: float) -> tuple[Part, ...]:
        bank, parts = self.windows.bank, []
        for s, gain in enumerate(gains):
            j = self.windows.best_near(gain, kind, place)
            if j >= 0 and gain[j] >= SHARE:
                parts.append(Part(s, float(bank.mid[j]), float(bank.width[j])))
        if not parts:  # together they speak, none alone: take the loudest
            best = [self.windows.best_near(g, kind, place) for g in gains]
            s = int(np.argmax([g[j] if j >= 0 else -1.0 for g, j in zip(gains, best)]))
            if best[s] >= 0:
                parts.append(Part(s, float(bank.mid[best[s]]), float(bank.width[best[s]])))
        return tuple(parts)


def _closest(groups: list[list[Part]]) -> tuple[int, int] | None:
    """Return the two groups that lie closest, within the lag that one change allows."""
    best, pair = 1.0, None
    for i, a in enumerate(groups):
        for j in range(i + 1, len(groups)):
            b = groups[j]
            if {p.series for p in a} & {p.series for p in b}:
                continue
            width = min(p.width for p in a + b)
            allowed = 2 * (LAG + LAG_PER_WIDTH * width)
            gap = abs(float(np.median([p.mid for p in a]) - np.median([p.mid for p in b])))
            if gap / allowed < best:
                best, pair = gap / allowed, (i, j)
    return pair
