"""200 clients that never read, in front of an upstream that never stops sending.

The process grows by less than 16 MiB, spends no CPU on them once buffers are full, and its other
sessions, one in bulk and one in ping-pong, keep 0.9 of their speed: rounds with and without the
200 alternate, and medians are compared. For that the proxy has a core of its own where there are
two, lest the scheduler's choices be taken for its speed.
"""

from __future__ import annotations

import os
import socket
import time

from harness import Address, Report, check_descriptors, check_no_cpu, median, mib, settle, text
from lab import procfs
from lab.proxies import Proxy, Route, Settings, free_port
from traffic import connect, echo, endpoint, ping, source

CLIENTS = 200
ROUNDS = 7
BULK_SECONDS = 0.5
WARM_SECONDS = 0.3
PING_SECONDS = 0.4
PIPES_POOLED_MAX = 64
GROWTH_BYTES_MAX = 16 * 2**20
SPEED_SHARE_MIN = 0.9


def bulk_rate(address: Address) -> float:
    """Bytes per second of one session that reads from the tireless upstream, once it is warm: filling
    or freeing the buffers of 200 others leaves the machine with colder or warmer memory."""
    buffer = bytearray(2**20)
    with connect(address) as client:
        start = time.monotonic()
        while time.monotonic() - start < WARM_SECONDS:
            client.recv_into(buffer)
        start = time.monotonic()
        received = 0
        while (elapsed := time.monotonic() - start) < BULK_SECONDS:
            received += client.recv_into(buffer)
        return received / elapsed


def ping_rate(address: Address) -> float:
    """Messages of 64 B per second, one after the other on one session."""
    message = b"p" * 64
    with connect(address) as client:
        start = time.monotonic()
        count = 0
        while (elapsed := time.monotonic() - start) < PING_SECONDS:
            ping(client, message)
            count += 1
        return count / elapsed


def stall(address: Address) -> list[socket.socket]:
    """Clients with a small window that will never read."""
    return [connect(address, receive_buffer=16_384) for _ in range(CLIENTS)]


def run(report: Report, kind: str) -> None:
    """Memory and CPU first, then the alternating rounds."""
    cores = os.sched_getaffinity(0)
    core = min(cores) if len(cores) > 1 else None
    try:
        if core is not None:
            os.sched_setaffinity(0, cores - {core})
        with endpoint(source) as [endless], endpoint(source) as [bulk], endpoint(echo) as [echoing]:
            listen = {name: ("127.0.0.1", free_port()) for name in ("stalled", "bulk", "echo")}
            routes = [
                Route(name, [text(listen[name])], [text(to)])
                for name, to in (("stalled", endless), ("bulk", bulk), ("echo", echoing))
            ]
            with Proxy(kind, Settings(routes), core=core) as proxy:
                measure(report, proxy, listen)
    finally:
        os.sched_setaffinity(0, cores)


def measure(report: Report, proxy: Proxy, listen: dict[str, Address]) -> None:
    """All figures of one proxy."""
    bulk_rate(listen["bulk"])  # warm: buffers and pipes of ordinary work are there
    ping_rate(listen["echo"])
    settle(proxy)
    memory, descriptors = procfs.pss_bytes(proxy.pid), procfs.descriptors(proxy.pid)
    clients = stall(listen["stalled"])
    settle(proxy)
    growth = procfs.pss_bytes(proxy.pid) - memory
    report.check(
        f"memory, {CLIENTS} stalled sessions", growth < GROWTH_BYTES_MAX, f"+{mib(growth)}"
    )
    check_no_cpu(report, "CPU spent on them", proxy)
    close(clients)
    settle(proxy)

    rates: dict[str, list[float]] = {"bulk": [], "bulk+": [], "ping": [], "ping+": []}
    for _ in range(ROUNDS):
        rates["bulk"].append(bulk_rate(listen["bulk"]))
        rates["ping"].append(ping_rate(listen["echo"]))
        clients = stall(listen["stalled"])
        settle(proxy)
        rates["bulk+"].append(bulk_rate(listen["bulk"]))
        rates["ping+"].append(ping_rate(listen["echo"]))
        close(clients)
        settle(proxy)
    for name, unit, scale in (("bulk", "GB/s", 1e9), ("ping", "thousand/s", 1e3)):
        alone, beside = median(rates[name]), median(rates[name + "+"])
        report.check(
            f"another session's speed, {name}",
            beside >= SPEED_SHARE_MIN * alone,
            f"{beside / scale:.2f} {unit} beside them, {alone / scale:.2f} without "
            f"({beside / alone:.2f})",
        )
    check_descriptors(report, proxy, descriptors, kept=PIPES_POOLED_MAX)


def close(clients: list[socket.socket]) -> None:
    for client in clients:
        client.close()
