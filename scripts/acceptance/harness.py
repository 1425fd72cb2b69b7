"""What every subject uses: the report, and a proxy with one route in front of given endpoints."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from lab import procfs
from lab.proxies import Proxy, Route, Settings, free_port, wait_until

Address = tuple[str, int]

# An idle process may tick a timer; anything above is work that nobody asked for.
IDLE_CPU_SHARE_MAX = 0.002


class Report:
    """Prints each finding with its figure as it is made, and counts them."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def check(self, what: str, holds: bool, figure: str) -> None:
        """One expectation, whether it held, and the figure by which that was judged."""
        if holds:
            self.passed += 1
        else:
            self.failed += 1
        print(f"  {'PASS' if holds else 'FAIL'}  {what}: {figure}", flush=True)

    def note(self, text: str) -> None:
        """A figure that is told but not judged."""
        print(f"        {text}", flush=True)


def single_route(
    kind: str,
    endpoints: Sequence[Address],
    *,
    listen: Sequence[str] = ("127.0.0.1",),
    idle: str | None = None,
    workers: int = 1,
    max_sessions: int | None = None,
    descriptors_max: int | None = None,
    drain: str = "2s",
) -> tuple[Proxy, list[Address]]:
    """A proxy (not started yet) with one route to the endpoints, and where it will listen."""
    port = free_port()
    addresses = [(host, port) for host in listen]
    route = Route("main", [text(a) for a in addresses], [text(e) for e in endpoints], idle)
    settings = Settings([route], workers=workers, max_sessions=max_sessions, drain=drain)
    return Proxy(kind, settings, descriptors_max=descriptors_max), addresses


def text(address: Address) -> str:
    """`host:port`."""
    return f"{address[0]}:{address[1]}"


def settle(proxy: Proxy, seconds: float = 10) -> None:
    """Waits until the proxy has spent (almost) no CPU for a quarter of a second."""

    def is_quiet() -> bool:
        before = procfs.cpu_seconds(proxy.pid)
        time.sleep(0.25)
        return procfs.cpu_seconds(proxy.pid) - before < 0.001

    wait_until(is_quiet, seconds, "the proxy to settle")


def check_no_cpu(report: Report, what: str, proxy: Proxy, seconds: float = 3) -> None:
    """Nothing happens for that long: the proxy must spend nothing."""
    before, start = procfs.cpu_seconds(proxy.pid), time.monotonic()
    time.sleep(seconds)
    spent, elapsed = procfs.cpu_seconds(proxy.pid) - before, time.monotonic() - start
    report.check(
        what,
        spent <= elapsed * IDLE_CPU_SHARE_MAX,
        f"{spent * 1e3:.2f} ms of CPU in {elapsed:.1f} s",
    )


def check_descriptors(report: Report, proxy: Proxy, before: int, kept: int = 0) -> None:
    """Every descriptor that sessions took is given back, if not at once then soon.

    `kept` is what a pool of pipes may hold more than before: a bound, where a leak has none.
    """
    try:
        wait_until(
            lambda: procfs.descriptors(proxy.pid) <= before + kept, 10, "descriptors to be closed"
        )
    except TimeoutError:
        pass
    after = procfs.descriptors(proxy.pid)
    figure = f"{before} -> {after}" + (f" ({kept} more may be pooled pipes)" if kept else "")
    report.check("descriptors are back where they were", after <= before + kept, figure)


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def mib(byte_count: float) -> str:
    """A size as people read it."""
    return f"{byte_count / 2**20:.2f} MiB"
