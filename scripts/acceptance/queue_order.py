"""Places are few, and clients many: they wait in one order, whichever worker has them.

First come, first served is told by the endpoint: it sees the numbers that clients have sent in the
order in which they came. Then there is a crowd that comes and goes as fast as it can: nobody is lost,
no place stays free, and the bound holds.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from harness import Address, Report, text
from lab.proxies import free_port, wait_until
from lab.sluice import Sluice
from traffic import connect, listening

CLIENTS = 100
PLACES = 5
CROWD = 40
CROWD_SECONDS = 5.0


class Server:
    """Echoes one line to each client after a while, and notes who came in which order."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.seen: list[int] = []
        self.now = 0
        self.most = 0
        self._lock = threading.Lock()
        self._server = listening("127.0.0.1")
        self._server.settimeout(None)
        self.address: Address = self._server.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accepts nobody any more."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                end, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(end,), daemon=True).start()

    def _serve(self, end: socket.socket) -> None:
        with end, contextlib.suppress(OSError, ValueError):
            line = end.makefile("rb").readline()
            with self._lock:
                self.seen.append(int(line))
                self.now += 1
                self.most = max(self.most, self.now)
            time.sleep(self.seconds)
            with self._lock:
                self.now -= 1
            end.sendall(line)


def configuration(listen: Address, endpoint: Address, places: int, workers: int) -> str:
    """A route to an endpoint with few places."""
    return f"""\
workers: {workers}
log: {{access: stdout}}
routes:
  main: {{listen: "{text(listen)}", to: main}}
upstreams:
  main:
    endpoints: ["{text(endpoint)}"]
    max_sessions: {places}
    queue: {{length: 1000, timeout: 60s}}
"""


def order(report: Report, workers: int) -> None:
    """One place; clients that come one after another."""
    server = Server(0.01)
    listen = ("127.0.0.1", free_port())
    with Sluice(configuration(listen, server.address, 1, workers)) as proxy:
        clients = []
        for number in range(CLIENTS):
            client = connect(listen)
            client.sendall(b"%d\n" % number)
            clients.append(client)
            # In the room, or served, before the next one comes.
            wait_until(
                lambda: proxy.metrics()("sluice_sessions_accepted_total") > number, 5, "arrival"
            )
        answers = 0
        for number, client in enumerate(clients):
            answers += client.makefile("rb").readline() == b"%d\n" % number
            client.close()
        waited = proxy.metrics()("sluice_upstream_waits_total", **{"in": "queue"})
    server.close()
    wrong = sum(a > b for a, b in zip(server.seen, server.seen[1:]))
    report.check(
        f"{workers} workers: first come, first served",
        answers == CLIENTS and wrong == 0 and waited > CLIENTS / 2,
        f"{answers} of {CLIENTS} served, {waited:.0f} have waited, {wrong} out of order",
    )


def crowd(report: Report) -> None:
    """Many clients that come again as soon as they were served."""
    server = Server(0.0)
    listen = ("127.0.0.1", free_port())
    failures: list[str] = []
    served = [0] * CROWD
    over = threading.Event()

    def come_and_go(number: int) -> None:
        while not over.is_set():
            try:
                with connect(listen) as client:
                    client.sendall(b"%d\n" % number)
                    if client.makefile("rb").readline() != b"%d\n" % number:
                        failures.append("ended before the answer")
                    else:
                        served[number] += 1
            except OSError as error:
                failures.append(f"{type(error).__name__}: {error}")

    with Sluice(configuration(listen, server.address, PLACES, 2)) as proxy:
        threads = [threading.Thread(target=come_and_go, args=(n,)) for n in range(CROWD)]
        for thread in threads:
            thread.start()
        time.sleep(CROWD_SECONDS)
        over.set()
        for thread in threads:
            thread.join()
        read = proxy.metrics()
        left = read("sluice_upstream_waiting") + read("sluice_upstream_sessions")
    server.close()
    report.check(
        "a crowd: everybody is served, and the bound holds",
        not failures and server.most <= PLACES and left == 0,
        f"{sum(served)} served, {len(failures)} failed {set(failures) or ''}".rstrip()
        + f", at most {server.most} at once, {left:.0f} left",
    )
    report.check(
        "a crowd: nobody is left behind",
        min(served) * 2 > max(served),
        f"between {min(served)} and {max(served)} times",
    )


def run(report: Report, kind: str) -> None:
    """One worker, several, and a crowd."""
    if kind != "sluice":
        report.note("only Sluice is asked for this")
        return
    for workers in (1, 2):
        order(report, workers)
    crowd(report)
