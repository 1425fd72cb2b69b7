"""Whether small messages keep their latency beside sessions that take all they can get."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.cases.case import WARM_UP_SECONDS, contenders, in_front_of, peers_of, tried
from bench.laboratory import Laboratory, yield_to_others
from bench.marks import ITSELF, Mark
from bench.peers import Contender
from bench.results import FLOOR, SPEED, Figure, Result
from bench.rounds import alternating

BULK_SESSIONS = 8
SMALL_SESSIONS = 64
PER_SECOND = 6_400
SMALL_LOAD = ("paced", "--rate", str(PER_SECOND), "--bytes", "64")
SMALL_LOAD += ("--connections", str(SMALL_SESSIONS))
BULK_LOAD = ("bulk", "--direction", "down", "--sessions", str(BULK_SESSIONS))
QUIET_P99 = Figure("quiet_p99_us", "p99 without bulk", "us", 0)
QUIET_P50 = Figure("quiet_p50_us", "p50 without bulk", "us", 0)
BESIDE_P50 = Figure("p50_us", "p50 beside bulk", "us", 0)
BESIDE_P99 = Figure("p99_us", "p99 beside bulk", "us", 0)
TIMES = Figure("times", "p99 beside / without", "x", 2)
# Where small messages go, and where bulk goes.
Place = tuple[list[str], list[str]]


@dataclass(frozen=True)
class Fairness:
    """8 bulk sessions beside 64 sessions that send a message now and then, on one worker.

    The small messages come in an open loop at a moderate rate: a closed loop would fill the load's
    core by itself, leave nothing to the bulk, and so measure no fairness. The bulk's own client and
    server yield to everybody else on their core (SCHED_IDLE), so that what is seen is the proxy's
    fairness and not that of the load's core; the floor shows what is left of that.
    """

    name: str = "8 bulk sessions beside 64 of ping-pong"
    is_quick: bool = False
    seconds: float = 0.6

    def run(self, lab: Laboratory, kinds: Sequence[str], rounds: int) -> Result:
        """Each round: without bulk, then with it."""
        found = contenders(kinds)
        about = (
            f"64 B on {SMALL_SESSIONS} connections, {PER_SECOND:,} messages a second in all at "
            f"random moments, without and beside {BULK_SESSIONS} sessions that read as fast as "
            "they can, through the same worker"
        )
        marks = (Mark("times", 3.0, against=ITSELF), Mark("p99_us", 1.0))
        figures = (BESIDE_P99, QUIET_P99, TIMES, BESIDE_P50, QUIET_P50, SPEED)
        result = Result(self.name, about, figures, marks, peers_of(found))
        result.notes.append(
            f"{FLOOR}: the echo and the bulk server without a proxy: what the load's own core adds"
        )
        seconds = lab.duration(self.seconds)
        with contextlib.ExitStack() as stack:
            source_pid, sources = stack.enter_context(lab.server("source", lab.cores.servers))
            yield_to_others(source_pid)

            def start(one: Contender) -> contextlib.AbstractContextManager[Place]:
                return started(lab, one, sources)

            def trial(place: Place, duration: float) -> dict[str, float]:
                return beside_bulk(lab, *place, duration)

            found = tried(lab, found, result, start, trial, is_bulk=True, figure=BESIDE_P99.key)
            by_name = {one.name: one for one in found}
            direct = contextlib.nullcontext((lab.servers("echo"), sources))
            for index, name in alternating([*by_name, FLOOR], rounds):
                lab.progress(f"{self.name}: round {index + 1} of {rounds}, {name}")
                place = direct if name == FLOOR else start(by_name[name])
                with place as (small, bulk), in_front_of(name):
                    measured(lab, small, bulk, WARM_UP_SECONDS)
                    result.add(name, lab.figures(lambda: measured(lab, small, bulk, seconds)))
        return result


@contextlib.contextmanager
def started(lab: Laboratory, contender: Contender, sources: list[str]) -> Iterator[Place]:
    """The contender with a route for each kind; where they listen."""
    small, bulk = lab.route(lab.servers("echo"), "small"), lab.route(sources, "bulk")
    with lab.proxy(contender, [small, bulk]):
        yield small.listen, bulk.listen


def measured(
    lab: Laboratory, small: list[str], bulk: list[str], seconds: float
) -> dict[str, float]:
    """The latencies without and beside the bulk."""
    quiet = lab.run_load(SMALL_LOAD, small, seconds)
    beside = beside_bulk(lab, small, bulk, seconds)
    return {
        **beside,
        "quiet_p50_us": quiet["p50_us"],
        "quiet_p99_us": quiet["p99_us"],
        "times": beside["p99_us"] / quiet["p99_us"],
    }


def beside_bulk(
    lab: Laboratory, small: list[str], bulk: list[str], seconds: float
) -> dict[str, float]:
    """The latencies beside the bulk, and how fast that was meanwhile."""
    with lab.in_background(BULK_LOAD, bulk, seconds + 0.3) as outcome:
        beside = lab.run_load(SMALL_LOAD, small, seconds)
    return {
        "p50_us": beside["p50_us"],
        "p99_us": beside["p99_us"],
        "rate": outcome[0]["bytes"] / 1e9 / outcome[0]["seconds"],
    }


CASES = (Fairness(),)
