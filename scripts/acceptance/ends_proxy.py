"""Sluice with one route, for the checks of how sessions end."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ends_sockets import Spot

from lab.proxies import wait_until
from lab.sluice import Line, Sluice

Keys = Mapping[str, str]


def lines_of(keys: Keys) -> list[str]:
    """`key: value` for each."""
    return [f"{key}: {value}" for key, value in keys.items()]


@dataclass(frozen=True)
class Way:
    """A route with an upstream of its own, and their keys."""

    listen: Spot
    endpoints: Sequence[Spot]
    route: Keys = field(default_factory=dict)
    upstream: Keys = field(default_factory=dict)


def configuration(ways: Mapping[str, Way], top: Keys | None = None) -> str:
    """The file, with the given keys at the top."""
    standard = {"workers": "1", "log": "{access: stdout}", "shutdown": "{drain: 1s}"}
    lines = lines_of(standard | dict(top or {})) + ["routes:"]
    for name, way in ways.items():
        lines += [f"  {name}:", f'    listen: "{way.listen.text}"', f"    to: {name}"]
        lines += [f"    {line}" for line in lines_of(way.route)]
    lines.append("upstreams:")
    for name, way in ways.items():
        targets = ", ".join(f'"{spot.text}"' for spot in way.endpoints)
        lines += [f"  {name}:", f"    endpoints: [{targets}]"]
        lines += [f"    {line}" for line in lines_of(way.upstream)]
    return "\n".join(lines) + "\n"


def proxy(
    listen: Spot,
    *endpoints: Spot,
    route: Keys | None = None,
    upstream: Keys | None = None,
    top: Keys | None = None,
) -> Sluice:
    """Sluice (not started yet) with one route to the endpoints."""
    way = Way(listen, endpoints, route or {}, upstream or {})
    return Sluice(configuration({"main": way}, top))


def end_record(sluice: Sluice, seconds: float = 10) -> Line:
    """The record of the first session that has ended."""
    return sluice.log.wait_for(0, "access", "end", seconds)


def is_stopped(pid: int) -> bool:
    """Whether no thread of a process runs."""
    states = (task.joinpath("stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir())
    return all(state.rpartition(")")[2].split()[0] == "T" for state in states)


@contextlib.contextmanager
def stopped(sluice: Sluice) -> Iterator[None]:
    """Within, the proxy's process does not run: the kernel goes on for it, and what happens
    meanwhile is there all at once when it continues."""
    os.kill(sluice.pid, signal.SIGSTOP)
    # A signal takes its time, and each thread stops by itself.
    wait_until(lambda: is_stopped(sluice.pid), 5, "the proxy to stop")
    try:
        yield
    finally:
        os.kill(sluice.pid, signal.SIGCONT)
