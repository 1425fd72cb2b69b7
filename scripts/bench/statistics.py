"""Medians and how far they can be trusted, from few rounds on a machine that others disturb.

Two proxies are compared by the ratio of their costs in the same round: what slows the machine for a
while slows both, and is divided away. The median of these ratios is the finding. How far it may be
off is told by the interval that the sign test gives: each ratio lies above the true median or below
it with equal odds, so the number of those below is binomial, and the k-th smallest and k-th largest
ratio enclose the true median with a probability that needs no table, no normal distribution and no
resampling. It can be checked by hand. (A bootstrap of so few values is too narrow: it cannot see
beyond the smallest and the largest, and gives them too little weight.)

With 6 rounds the smallest and the largest ratio enclose the median with 96.9 %, with 12 the third
smallest and third largest with 96.1 %. Below 6 rounds nothing reaches 95 %: then the whole range
is given together with what it is worth.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A median, what encloses it, and with which probability."""

    low: float
    median: float
    high: float
    coverage: float

    @property
    def is_confident(self) -> bool:
        """Whether it is as wide as the confidence asks for."""
        return self.coverage >= CONFIDENCE


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The exact interval of the median by the sign test: the narrowest symmetrical pair of order
    statistics that covers it with at least this probability, or the whole range if none does."""
    if not values:
        raise ValueError("no values, no median")
    ordered = sorted(values)
    count = len(ordered)
    below = 0
    while below + 1 <= (count - 1) // 2 and coverage(count, below + 1) >= confidence:
        below += 1
    return Interval(
        low=ordered[below],
        median=statistics.median(ordered),
        high=ordered[count - 1 - below],
        coverage=coverage(count, below),
    )


def coverage(count: int, below: int) -> float:
    """The probability that the true median lies between the values that have `below` others
    outside them on either side, of `count` independent ones."""
    tail = sum(math.comb(count, index) for index in range(below + 1)) / 2**count
    return max(0.0, 1 - 2 * tail)


def paired_ratios(own: Sequence[float], other: Sequence[float]) -> list[float]:
    """Round by round, how many times the other's figure ours is."""
    if len(own) != len(other):
        raise ValueError(f"{len(own)} rounds cannot be paired with {len(other)}")
    return [mine / theirs if theirs else math.inf for mine, theirs in zip(own, other)]
