"""100,000 sessions opened and closed: descriptors and memory back where they were.

Each connects, gets the echo of 64 B and closes. They are spread over eight loopback addresses on
either side of the proxy, because a closed connection keeps its ports for a minute and one pair of
addresses has only some 28,000.
"""

from __future__ import annotations

import contextlib
import time

from harness import Address, Report, check_descriptors, mib, settle, single_route
from lab import procfs
from traffic import connect, echo, endpoint, ping, process

HOSTS = tuple(f"127.0.0.{index}" for index in range(1, 9))
PROCESSES = 4
WARM_SESSIONS = 4_000
SESSIONS = 100_000
GROWTH_BYTES_MAX = 512 * 1024


def open_and_close(addresses: list[Address], count: int) -> None:
    """So many sessions, one after the other; an error ends the process with a code."""
    message = b"c" * 64
    for index in range(count):
        with connect(addresses[index % len(addresses)]) as client:
            if not ping(client, message):
                raise ConnectionError("the echo did not come back")


def churn(addresses: list[Address], count: int) -> bool:
    """Spreads the sessions over some processes; whether all went well."""
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(process(open_and_close, addresses, count // PROCESSES))
            for _ in range(PROCESSES)
        ]
        for worker in workers:
            worker.join(timeout=150)
        return all(worker.exitcode == 0 for worker in workers)


def run(report: Report, kind: str) -> None:
    """A round to warm up, then the count that must leave no trace."""
    with endpoint(echo, *HOSTS) as endpoints:
        proxy, addresses = single_route(kind, endpoints, listen=HOSTS)
        with proxy:
            if not churn(addresses, WARM_SESSIONS):
                raise ConnectionError("a session of the warm-up round failed")
            settle(proxy)
            descriptors, memory = procfs.descriptors(proxy.pid), procfs.pss_bytes(proxy.pid)
            start = time.monotonic()
            all_well = churn(addresses, SESSIONS)
            seconds = time.monotonic() - start
            report.check(
                "every session was served", all_well, f"{SESSIONS} sessions in {seconds:.1f} s"
            )
            check_descriptors(report, proxy, descriptors)
            settle(proxy)
            growth = procfs.pss_bytes(proxy.pid) - memory
            report.check("memory is back", growth < GROWTH_BYTES_MAX, f"{mib(growth)} more")
