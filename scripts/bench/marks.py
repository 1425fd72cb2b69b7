"""What is demanded of a figure, and whether it holds.

A mark holds when the whole interval is on its good side, not only the median: what a lucky run
would pass does not count. It is missed when the whole interval is on the bad side. In between it is
open: more or quieter rounds may decide it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.statistics import Interval, median_interval, paired_ratios

BEST = "best peer"
ITSELF = "itself"

HOLDS, OPEN, MISSED, MISSING = "holds", "open", "missed", "not judged"

Figures = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Mark:
    """A bound for a figure of the subject: for its ratio to another's, or for itself.

    `against` is a contender's name, or BEST: the peer that did best by this very figure. An `exact`
    figure is a count that time does not disturb, so that few rounds are enough.
    """

    figure: str
    bound: float
    against: str = BEST
    at_least: bool = False
    exact: bool = False

    def words(self, title: str) -> str:
        """The demand as people read it."""
        bound = f"{'at least' if self.at_least else 'at most'} {self.bound:g}"
        return f"{title} {bound}" + ("" if self.against == ITSELF else f" of {self.against}")


@dataclass(frozen=True)
class Verdict:
    """What came of a mark."""

    mark: Mark
    against: str
    interval: Interval | None
    outcome: str

    def as_json(self) -> dict[str, object]:
        """For the file."""
        return asdict(self)


def judged(
    mark: Mark,
    series: Mapping[str, Figures],
    subject: str,
    peers: Sequence[str],
    lower_is_better: bool,
) -> Verdict:
    """The mark against what was measured."""

    def figures(name: str) -> Sequence[float]:
        return series.get(name, {}).get(mark.figure, ())

    own = figures(subject)
    against = mark.against
    if against == BEST:
        candidates = [peer for peer in peers if figures(peer)]
        medians = {peer: median_interval(figures(peer)).median for peer in candidates}
        if medians:
            choose = min if lower_is_better else max
            against = choose(medians, key=lambda peer: medians[peer])
    if not own or (against != ITSELF and not figures(against)):
        return Verdict(mark, against, None, MISSING)
    values = own if against == ITSELF else paired_ratios(own, figures(against))
    interval = median_interval(values)
    low, high = interval.low, interval.high
    if mark.at_least:
        is_good, is_bad = low >= mark.bound, high < mark.bound
    else:
        is_good, is_bad = high <= mark.bound, low > mark.bound
    outcome = OPEN
    if mark.exact or interval.is_confident:
        outcome = HOLDS if is_good else MISSED if is_bad else OPEN
    return Verdict(mark, against, interval, outcome)
