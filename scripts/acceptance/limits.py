"""At `max_sessions`, and out of descriptors, accepting pauses and resumes; nothing spins."""

from __future__ import annotations

import resource
import select
import socket
import time

from harness import Address, Report, check_descriptors, check_no_cpu, settle, single_route
from lab import procfs
from lab.proxies import Proxy
from traffic import connect, echo, endpoint, ping_once, warm_up

MAX_SESSIONS = 50
CLIENTS = 80
FEW_DESCRIPTORS = 64
MANY_CLIENTS = 200


class Crowd:
    """Clients that each sent one message: served once its echo comes, waiting until then."""

    def __init__(self, address: Address, count: int) -> None:
        self.poll = select.epoll()
        self.waiting: dict[int, socket.socket] = {}
        self.served: list[socket.socket] = []
        self.refused = 0
        for _ in range(count):
            client = connect(address)
            client.sendall(b"c")
            self.waiting[client.fileno()] = client
            self.poll.register(client, select.EPOLLIN)

    def serve(self, seconds: float) -> None:
        """Takes the echoes that come until nothing came for so long."""
        while self.waiting and (events := self.poll.poll(seconds)):
            for descriptor, _ in events:
                client = self.waiting.pop(descriptor)
                self.poll.unregister(descriptor)
                try:
                    echoed = client.recv(1) == b"c"
                except OSError:
                    echoed = False
                if echoed:
                    self.served.append(client)
                else:
                    self.refused += 1
                    client.close()

    def leave(self, count: int) -> None:
        """So many of the served close."""
        for client in self.served[:count]:
            client.close()
        del self.served[:count]

    def serve_all(self, seconds: float) -> int:
        """The served leave and make room until everyone was; how many were."""
        total = 0
        deadline = time.monotonic() + seconds
        while self.waiting and time.monotonic() < deadline:
            total += len(self.served)
            self.leave(len(self.served))
            self.serve(1.5)
        total += len(self.served)
        self.leave(len(self.served))
        return total


def at_max_sessions(report: Report, kind: str, endpoints: list[Address]) -> None:
    """80 clients, 50 sessions: 30 wait, and are served as others close."""
    proxy, [address] = single_route(kind, endpoints, max_sessions=MAX_SESSIONS)
    with proxy:
        descriptors = warm_up(proxy, address)
        crowd = Crowd(address, CLIENTS)
        crowd.serve(0.7)
        report.check(
            f"max_sessions: {MAX_SESSIONS}, {CLIENTS} clients",
            len(crowd.served) == MAX_SESSIONS and len(crowd.waiting) == CLIENTS - MAX_SESSIONS,
            f"{len(crowd.served)} served, {len(crowd.waiting)} wait, {crowd.refused} refused",
        )
        check_no_cpu(report, "CPU while they wait", proxy)
        crowd.leave(10)
        crowd.serve(0.7)
        report.check(
            "ten close",
            len(crowd.served) == MAX_SESSIONS,
            f"{len(crowd.served)} served, {len(crowd.waiting)} wait",
        )
        total = 10 + crowd.serve_all(20)
        report.check("everyone was served in the end", total == CLIENTS, f"{total} of {CLIENTS}")
        check_descriptors(report, proxy, descriptors)


def out_of_descriptors(
    report: Report, proxy: Proxy, address: Address, how: str, is_planned: bool
) -> None:
    """200 clients and 64 descriptors: survives, does not spin, and nobody is left hanging.

    A proxy that knew of the limit at its start has the sessions it can serve, and the others wait
    for their turn. One that runs into it may have accepted a client for whom no socket to the
    endpoint is left, and must then end that session.
    """
    descriptors = warm_up(proxy, address)
    crowd = Crowd(address, MANY_CLIENTS)
    crowd.serve(0.7)
    report.check(
        f"{FEW_DESCRIPTORS} descriptors ({how}), {MANY_CLIENTS} clients",
        proxy.is_alive and 0 < len(crowd.served) < FEW_DESCRIPTORS // 2,
        f"{len(crowd.served)} served, {len(crowd.waiting)} wait, {crowd.refused} refused",
    )
    try:
        settle(proxy, seconds=2)
    except TimeoutError:
        pass  # the next line tells how much it spends
    check_no_cpu(report, "CPU while they wait", proxy)
    total = crowd.serve_all(30)
    refused_max = 0 if is_planned else MANY_CLIENTS - FEW_DESCRIPTORS // 3
    report.check(
        "nobody is left hanging in the end",
        total + crowd.refused == MANY_CLIENTS and crowd.refused <= refused_max,
        f"{total} of {MANY_CLIENTS} served, {crowd.refused} refused (at most {refused_max})",
    )
    check_descriptors(report, proxy, descriptors)
    report.check("a plain session afterwards", ping_once(address), "echoed")


def run(report: Report, kind: str) -> None:
    """The bound of the configuration, then the bound of the kernel in two ways."""
    with endpoint(echo) as endpoints:
        at_max_sessions(report, kind, endpoints)
        proxy, [address] = single_route(kind, endpoints, descriptors_max=FEW_DESCRIPTORS)
        with proxy:
            out_of_descriptors(report, proxy, address, "from the start", is_planned=True)
        proxy, [address] = single_route(kind, endpoints)
        with proxy:
            # What the proxy planned with at its start is gone: accept and socket really fail.
            for pid in procfs.process_tree(proxy.pid):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW_DESCRIPTORS,) * 2)
            out_of_descriptors(report, proxy, address, "lowered while it runs", is_planned=False)
