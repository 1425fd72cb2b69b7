"""1,000 long-lived sessions on two workers: neither holds more than 60 %; few starve none.

Which worker holds a session is not visible from outside, but what it costs is: with the same load
on every session, a worker's share of CPU is its share of sessions. Sessions arrive in a burst, or
one after the other with a message in between, as clients come in an ordinary hour; the second
order is the harder one, because the same worker is the first to wake each time.
"""

from __future__ import annotations

import select
import socket
import time

from harness import Report, check_descriptors, single_route
from lab import procfs
from lab.proxies import Proxy
from traffic import connect, echo, endpoint, ping, warm_up

SESSIONS = 1_000
FEW = 4
LOAD_SECONDS = 2.0
SHARE_MAX = 0.6
FEW_SHARE_MIN = 0.15
MESSAGE = b"s" * 64


def worker_cpu(proxy: Proxy) -> dict[str, float]:
    """CPU seconds of each worker: threads of that name, or a peer's threads and processes."""
    threads = procfs.thread_cpu_seconds(proxy.pid)
    if proxy.kind == "sluice":
        return {name: spent for name, spent in threads.items() if name.startswith("worker-")}
    return threads


def load_evenly(clients: list[socket.socket]) -> int:
    """One message on every session, all echoes awaited, and again; counts the rounds."""
    poll = select.epoll()
    by_descriptor = {client.fileno(): client for client in clients}
    for client in clients:
        poll.register(client, select.EPOLLIN)
    rounds = 0
    deadline = time.monotonic() + LOAD_SECONDS
    with poll:
        while time.monotonic() < deadline:
            for client in clients:
                client.sendall(MESSAGE)
            waiting = {client.fileno(): len(MESSAGE) for client in clients}
            while waiting:
                events = poll.poll(10)
                if not events:
                    raise TimeoutError(f"{len(waiting)} sessions had no echo for 10 s")
                for descriptor, _ in events:
                    chunk = by_descriptor[descriptor].recv(len(MESSAGE))
                    if not chunk:
                        raise ConnectionError("a session ended under load")
                    waiting[descriptor] -= len(chunk)
                    if waiting[descriptor] == 0:
                        del waiting[descriptor]
            rounds += 1
    return rounds


def shares(proxy: Proxy, clients: list[socket.socket]) -> tuple[list[float], str]:
    """The two workers' shares of the CPU under even load."""
    before = worker_cpu(proxy)
    rounds = load_evenly(clients)
    spent = sorted((cpu - before.get(name, 0) for name, cpu in worker_cpu(proxy).items()))[-2:]
    total = sum(spent) or 1.0
    parts = [one / total for one in spent]
    figure = " and ".join(f"{part:.0%}" for part in parts)
    return parts, f"{figure} of {total:.2f} s CPU, {rounds * len(clients)} echoes"


def run(report: Report, kind: str) -> None:
    """1,000 in a burst, 1,000 one by one, then four in either order."""
    with endpoint(echo) as endpoints:
        proxy, [address] = single_route(kind, endpoints, workers=2)
        with proxy:
            descriptors = warm_up(proxy, address)
            for count in (SESSIONS, FEW):
                for arrival in ("in a burst", "one by one"):
                    clients = []
                    for _ in range(count):
                        client = connect(address)
                        clients.append(client)
                        if arrival == "one by one":
                            ping(client)
                    parts, figure = shares(proxy, clients)
                    holds = len(parts) == 2 and (
                        max(parts) <= SHARE_MAX if count == SESSIONS else parts[0] >= FEW_SHARE_MIN
                    )
                    report.check(f"{count} sessions that came {arrival}", holds, figure)
                    for client in clients:
                        client.close()
                    check_descriptors(report, proxy, descriptors)
