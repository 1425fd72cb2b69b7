"""Part of `failover`: an endpoint's process is stopped (SIGSTOP), and goes on later.

The kernel goes on accepting for a stopped process until its queue is full, so a check that only
connects sees nothing for a long time; one that wants an answer does. That is why the endpoint is
asked by HTTP, beside a `tcp` check whose verdict is told and not judged.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

from harness import Report, text
from lab import procfs
from lab.proxies import free_port
from lab.sluice import Sluice
from named import Client, close, served_by, spread
from pair import Endpoint, configuration, running

SESSIONS = 40
EVERY, TIMEOUT, RISE, FALL = 0.4, 0.2, 2, 3
JITTER = 0.1
# What a loaded machine may add to the time of so many checks.
SLACK_SECONDS = 1.0
HALF_EACH = {"A": SESSIONS // 2, "B": SESSIONS // 2}


def freeze(report: Report) -> None:
    """Out after `fall` checks that were not answered, in after `rise` that were."""
    asked = free_port()
    with running("A", "127.0.0.1", asked) as first, running("B", "127.0.0.2", asked) as second:
        listen = {"asked": ("127.0.0.1", free_port()), "connected": ("127.0.0.1", free_port())}
        often = f"every: {EVERY * 1e3:.0f}ms, timeout: {TIMEOUT * 1e3:.0f}ms"
        often += f", rise: {RISE}, fall: {FALL}, jitter: {JITTER:.0%}"
        checks = {
            "asked": f"{{http: {{path: /}}, port: {asked}, {often}}}",
            "connected": f"{{tcp: {{}}, {often}}}",
        }
        with Sluice(configuration(listen, [first, second], checks)) as proxy:
            old = [Client(listen["asked"]) for _ in range(SESSIONS)]
            names = served_by(listen["asked"], SESSIONS)
            report.check("before: both serve", names == HALF_EACH, spread(names))

            turn(report, proxy, first, is_stopping=True)
            unanswered = accept_queue(first.address[0], asked)
            report.check(
                "stopped: out after `fall` checks",
                unanswered == FALL,
                f"{unanswered} without an answer, fall: {FALL}",
            )
            names = served_by(listen["asked"], SESSIONS)
            report.check("stopped: new clients", names == {"B": SESSIONS}, spread(names))
            lines = proxy.log.since(0, "warning", "endpoint is down")
            noticed = any(line.pairs.get("upstream") == "connected" for line in lines)
            report.note(
                "a check that only connects has noticed, too"
                if noticed
                else "a check that only connects has noticed nothing: the kernel still accepts"
            )

            turn(report, proxy, first, is_stopping=False)
            alive = sum(client.is_alive() for client in old)
            report.check(
                "goes on: its old sessions", alive == len(old), f"{alive} of {len(old)} alive"
            )
            names = served_by(listen["asked"], SESSIONS)
            report.check("goes on: both serve again", names == HALF_EACH, spread(names))
            close(old)


def turn(report: Report, proxy: Sluice, endpoint: Endpoint, is_stopping: bool) -> None:
    """Stops the endpoint or lets it go on, and waits for the line that tells of it."""
    state, count = ("down", FALL) if is_stopping else ("up", RISE)
    # A check that is under way is not lost on an endpoint that goes on.
    soonest = (count - 1) * EVERY * (1 - JITTER) if is_stopping else 0
    latest = count * (EVERY * (1 + JITTER) + TIMEOUT) + SLACK_SECONDS
    what = f"{'stopped' if is_stopping else 'goes on'}: the log says 'endpoint is {state}'"
    kind = "warning" if is_stopping else "info"
    wanted = {"endpoint": text(endpoint.address), "upstream": "asked"}
    def passed() -> float:
        return proxy.metrics()("sluice_endpoint_checks_total", **wanted, result="ok")

    before = passed()
    mark, at = proxy.log.mark(), time.time()
    os.kill(endpoint.pid, signal.SIGSTOP if is_stopping else signal.SIGCONT)
    try:
        line = proxy.log.wait_for(
            mark,
            kind,
            f"endpoint is {state}",
            latest + 2,
            lambda line: wanted.items() <= line.pairs.items(),
        )
    except TimeoutError as error:
        report.check(what, False, str(error))
        return
    seconds = line.time - at
    up, well = proxy.metrics()("sluice_endpoint_up", **wanted), passed() - before
    cause = f", cause: {line.pairs['cause']}" if "cause" in line.pairs else ""
    report.check(
        what,
        soonest <= seconds <= latest and (up, well >= RISE) == (not is_stopping, not is_stopping),
        f"after {seconds:.2f} s ({soonest:.1f} to {latest:.1f}) and {well:.0f} checks that passed, "
        f"sluice_endpoint_up {up:.0f}{cause}",
    )


def accept_queue(host: str, port: int) -> int:
    """How many connections wait to be accepted there: the receive queue of a listening socket."""
    local = f"{socket.inet_aton(host)[::-1].hex().upper()}:{port:04X}"
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1] == local and fields[3] == procfs.TCP_LISTEN:
            return int(fields[4].partition(":")[2], 16)
    raise LookupError(f"nothing listens at {host}:{port}")
