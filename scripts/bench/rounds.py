"""Alternating rounds, and what a process spent meanwhile."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab import procfs

# The same orders in every run.
SEED = 20_260_801
# Less than this of a core is what a proxy at rest spends, with its checks of endpoints.
REST_SHARE_MAX = 0.02
LOOK_EVERY_SECONDS = 0.03
SETTLE_SECONDS_MAX = 5.0


class NotSettled(Exception):
    """A process went on working long after its load had ended, so what it spent is not known."""


def alternating(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Every name once in each round: the first is another one each time, in turn, and the others
    follow in a random order, so that nobody is always behind the same neighbour's traces."""
    orders = random.Random(SEED)
    for index in range(rounds):
        turn = index % len(names)
        others = [*names[:turn], *names[turn + 1 :]]
        orders.shuffle(others)
        for name in [names[turn], *others]:
            yield index, name


@dataclass
class Disturbances:
    """How often others had the machine during the runs whose figures are told."""

    figures: int = 0
    repeated: int = 0
    kept: int = 0

    def words(self, share: float) -> str | None:
        """What has to be said of it: nothing when others never had more than this share."""
        if not self.repeated and not self.kept:
            return None
        return (
            f"repeated, since others had more than {share:.0%} of the cores: {self.repeated} runs; "
            f"kept although disturbed: {self.kept} of {self.figures}"
        )


class Meter:
    """CPU time of a process and its children from here to `stop`.

    The sum is exact to the nanosecond; how it divides into user and system is what the kernel saw
    at its ticks, so that the parts become precise over all rounds together.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._sum = procfs.cpu_seconds(pid)
        self._split = procfs.cpu_split(pid)

    def stop(self, settle: bool = True) -> tuple[float, float, float]:
        """Waits until the last work is done (of one that never rests, do not wait for it; one that
        should and does not is NotSettled), then: seconds, those of user and of system."""
        if settle:
            self._settle()
        spent = procfs.cpu_seconds(self.pid) - self._sum
        user, system = (b - a for a, b in zip(self._split, procfs.cpu_split(self.pid)))
        share = user / (user + system) if user + system else 0.0
        return spent, spent * share, spent * (1 - share)

    def _settle(self) -> None:
        """The last sessions are closed after the load has ended: their cost counts, too."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        before = procfs.cpu_seconds(self.pid)
        while time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_SECONDS)
            after = procfs.cpu_seconds(self.pid)
            if after - before < REST_SHARE_MAX * LOOK_EVERY_SECONDS:
                return
            before = after
        raise NotSettled(f"still busy {SETTLE_SECONDS_MAX:g} s after the load had ended")
