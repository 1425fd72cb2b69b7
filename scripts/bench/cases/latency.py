"""Latency at half the rate that saturates: messages leave when they are due, not when the last
answer has come, so that a slow moment is seen by all that were due in it (no coordinated omission).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.cases.case import (
    WARM_UP_SECONDS,
    contenders,
    floor,
    floor_words,
    in_front_of,
    peers_of,
    tried,
)
from bench.laboratory import Laboratory, Target
from bench.peers import Contender
from bench.results import BUSY, FLOOR, P50, P99, P999, PER_OPERATION, SYSTEM, USER, Figure, Result
from bench.rounds import alternating

CONNECTIONS = 64
SHAPE = ("--bytes", "64", "--connections", str(CONNECTIONS))
RATE_REACHED = Figure("rate", "rate", "/s", 0, lower_is_better=False)


@dataclass(frozen=True)
class HalfSaturation:
    """An open loop at half the closed loop's rate of the slowest, which is the same for all."""

    name: str = "half the saturation rate, 64 B x64"
    is_quick: bool = False
    seconds: float = 0.6

    def run(self, lab: Laboratory, kinds: Sequence[str], rounds: int) -> Result:
        """First what each can do at most, then all at the same rate."""
        figures = (P50, P99, P999, PER_OPERATION, USER, SYSTEM, RATE_REACHED, BUSY)
        found = contenders(kinds)
        about = (
            "messages of 64 B on 64 connections at random moments (Poisson, the same for all); "
            "each latency counts from the moment the message was due"
        )
        result = Result(self.name, about, figures, (), peers_of(found))

        def start(one: Contender) -> contextlib.AbstractContextManager[Target]:
            return started(lab, one)

        def saturating(target: Target, seconds: float) -> dict[str, float]:
            return measured(lab, target, ("pingpong", *SHAPE), seconds)

        found = tried(lab, found, result, start, saturating)
        most = {}
        by_name = {one.name: one for one in found}
        for name, one in by_name.items():
            lab.progress(f"{self.name}: how much {name} can do at most")
            with start(one) as target:
                saturating(target, WARM_UP_SECONDS)
                most[name] = lab.undisturbed(lambda: saturating(target, 0.5))["rate"]
        rate = int(min(most.values()) / 2)
        told = ", ".join(f"{name} {value:,.0f}" for name, value in most.items())
        result.notes.append(f"{rate:,}/s; at most, in a closed loop: {told}")
        result.notes.append(floor_words("echo"))
        load = ("paced", "--rate", str(rate), *SHAPE)
        seconds = lab.duration(self.seconds)
        for index, name in alternating([*by_name, FLOOR], rounds):
            lab.progress(f"{self.name}: round {index + 1} of {rounds}, {name}")
            if name == FLOOR:
                place, factor = floor(lab, "echo")
            else:
                place, factor = start(by_name[name]), 1.0
            with place as target, in_front_of(name):
                measured(lab, target, load, WARM_UP_SECONDS)
                sample = lab.figures(lambda: measured(lab, target, load, seconds))
            sample.update({key: factor * sample[key] for key in ("cost", "user", "system")})
            result.add(name, sample)
        return result


@contextlib.contextmanager
def started(lab: Laboratory, contender: Contender) -> Iterator[Target]:
    """The contender in front of the echo servers."""
    route = lab.route(lab.servers("echo"))
    with lab.proxy(contender, [route]) as proxy:
        yield Target(proxy.pid, route.listen, proxy)


def measured(
    lab: Laboratory, target: Target, load: Sequence[str], seconds: float
) -> dict[str, float]:
    """One run of a load of messages, as figures."""
    outcome, (spent, user, system) = lab.measure(target, load, seconds)
    count = outcome["operations"]
    return {
        "cost": spent / count * 1e6,
        "user": user / count * 1e6,
        "system": system / count * 1e6,
        "rate": count / outcome["seconds"],
        "busy": spent / outcome["seconds"] * 100,
        **{key: outcome[key] for key in ("p50_us", "p99_us", "p999_us")},
    }


CASES = (HalfSaturation(),)
