"""Alternating rounds, and what a process spent meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from lab import procfs


def alternating(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Every name once in each round. Each round begins with another one, so that nobody is always
    first, or always behind the same neighbour's traces."""
    for index in range(rounds):
        turn = index % len(names)
        for name in [*names[turn:], *names[:turn]]:
            yield index, name


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
        """Waits until the last work is done (of one that never rests, do not wait for it), then:
        seconds, those of user and of system."""
        if settle:
            self._settle()
        spent = procfs.cpu_seconds(self.pid) - self._sum
        user, system = (b - a for a, b in zip(self._split, procfs.cpu_split(self.pid)))
        share = user / (user + system) if user + system else 0.0
        return spent, spent * share, spent * (1 - share)

    def _settle(self) -> None:
        """The last sessions are closed after the load has ended: their cost counts, too."""
        deadline = time.monotonic() + 1
        before = procfs.cpu_seconds(self.pid)
        while time.monotonic() < deadline:
            time.sleep(0.03)
            after = procfs.cpu_seconds(self.pid)
            if after - before < 0.0005:
                return
            before = after
