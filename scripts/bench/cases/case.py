"""What every case has, and what most of them need: contenders, trials, floors."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from bench.laboratory import Laboratory, LoadFailed, Target
from bench.peers import Contender, variants
from bench.results import FLOOR, SUBJECT, Result

TRIAL_ROUNDS = 2
TRIAL_SECONDS = 0.25
WARM_UP_SECONDS = 0.15


class Case(Protocol):
    """A case of the suite."""

    @property
    def name(self) -> str:
        """How it is called in tables and on the command line."""

    @property
    def is_quick(self) -> bool:
        """Whether QUICK=1 has it."""

    def run(self, lab: Laboratory, kinds: Sequence[str], rounds: int) -> Result:
        """Measures it, with these kinds of proxies."""


def contenders(kinds: Sequence[str]) -> list[Contender]:
    """One for each kind of proxy."""
    return [Contender(kind, kind) for kind in kinds]


def peers_of(found: Sequence[Contender]) -> list[str]:
    """Those that the subject is compared with."""
    return [
        one.name for one in found if one.kind != SUBJECT and not one.is_plain and not one.is_tuned
    ]


# Where a contender serves, as its case likes to know it.
Place = TypeVar("Place")


def tried(
    lab: Laboratory,
    found: Sequence[Contender],
    result: Result,
    start: Callable[[Contender], contextlib.AbstractContextManager[Place]],
    measure: Callable[[Place, float], dict[str, float]],
    *,
    is_bulk: bool = False,
    figure: str = "cost",
) -> list[Contender]:
    """Each contender with the settings that did best in a short trial, the least of a figure; the
    result says which they are, and how the others did."""
    chosen = []
    for contender in found:
        choices = variants(contender, is_bulk)
        if len(choices) > 1:
            costs: dict[str, list[float]] = {choice.label: [] for choice in choices}
            for _ in range(1 if lab.is_quick else TRIAL_ROUNDS):
                for choice in choices:
                    lab.progress(f"{result.name}: trying {choice.name} with {choice.label}")
                    with start(choice) as place, in_front_of(f"{choice.name}, {choice.label}"):
                        measure(place, WARM_UP_SECONDS / 2)
                        sample = lab.undisturbed(lambda: measure(place, TRIAL_SECONDS))
                        costs[choice.label].append(sample[figure])
            medians = {label: statistics.median(values) for label, values in costs.items()}
            best = min(choices, key=lambda choice: medians[choice.label])
            others = ", ".join(f"{label} {value:.3g}" for label, value in medians.items())
            result.settings[contender.name] = f"{best.label} (tried: {others})"
            chosen.append(best)
        else:
            chosen.append(contender)
    return chosen


def floor(
    lab: Laboratory, server: str
) -> tuple[contextlib.AbstractContextManager[Target], float]:
    """What no proxy can be cheaper than, and by what its cost is multiplied: for echoes the echo
    server's own cost, twice, since a proxy has two sockets to serve where it has one; for bulk a
    relay that is nothing but splice(2)."""
    if server == "echo":
        return on_the_proxys_core(lab, "echo", []), 2.0
    return on_the_proxys_core(lab, "splice", ["--to", ",".join(lab.servers(server))]), 1.0


@contextlib.contextmanager
def on_the_proxys_core(lab: Laboratory, kind: str, options: Sequence[str]) -> Iterator[Target]:
    """A reference server in a proxy's place."""
    with lab.server(kind, lab.cores.proxy, options) as (pid, addresses):
        yield Target(pid, addresses)


def floor_words(server: str) -> str:
    """What the floor is, for the report."""
    if server == "echo":
        return f"{FLOOR}: an echo server without a proxy, its own cost x 2"
    return f"{FLOOR}: a loop of splice(2) between two sockets, without anything a proxy has"


@contextlib.contextmanager
def in_front_of(contender: str) -> Iterator[None]:
    """A failure of the load says in front of whom."""
    try:
        yield
    except LoadFailed as error:
        raise LoadFailed(f"{contender}: {error}") from error
