"""Nobody serves for five seconds, and 200 clients wait to the end: all are served then, at the rate, in order.

Twice: with checks, by which the proxy knows that the endpoint is down and when it is up, and
without, where it has to try. The endpoint tells when it accepted whom; so the rate is seen from
where it matters. Some of the clients give up while they wait: nobody is connected for them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from harness import Address, Report, text
from lab.proxies import free_port, wait_until
from lab.sluice import Sluice
from traffic import connect

# Who is gone before an endpoint is there, and who comes in all.
GIVE_UP = 10
CLIENTS = 200 + GIVE_UP
RATE = 50
DOWN_SECONDS = 5.0
# A probe finds out four times a second, a check ten times.
NOTICE_SECONDS_MAX = 0.5
# Accepting threads are not exact either.
RATE_SLACK = 1.06

CHECK = "check: {tcp: {}, every: 100ms, timeout: 1s, rise: 1, fall: 1}"


class LateServer:
    """Listens only after a while; notes when it accepted whom, and echoes one line."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.accepted: list[tuple[float, int]] = []
        self._server: socket.socket | None = None
        self._lock = threading.Lock()

    def start(self) -> float:
        """Listens from now on; returns what time it is."""
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(self.address)
        server.listen(512)
        self._server = server
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()
        return time.monotonic()

    def stop(self) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                end, _ = server.accept()
                at = time.monotonic()
                threading.Thread(target=self._serve, args=(end, at), daemon=True).start()

    def _serve(self, end: socket.socket, at: float) -> None:
        """A check says nothing and is not counted."""
        with end, contextlib.suppress(OSError, ValueError):
            end.settimeout(30)
            line = end.makefile("rb").readline()
            if not line:
                return
            with self._lock:
                self.accepted.append((at, int(line)))
            end.sendall(line)


def configuration(listen: Address, endpoint: Address, more: str) -> str:
    """A route to an endpoint that clients wait for."""
    return f"""\
workers: 2
log: {{access: stdout}}
routes:
  main: {{listen: "{text(listen)}", to: main}}
upstreams:
  main:
    endpoints: ["{text(endpoint)}"]
    hold: {{timeout: 10s, length: {CLIENTS}, rate: {RATE}}}
    {more}
"""


def densest(moments: list[float], seconds: float) -> int:
    """How many moments, at most, fall within so long."""
    first, most = 0, 0
    for last, moment in enumerate(moments):
        while moment - moments[first] > seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def waits(report: Report, name: str, more: str) -> None:
    """One endpoint that comes late, and clients that were there before."""
    listen, endpoint = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    server = LateServer(endpoint)
    with Sluice(configuration(listen, endpoint, more)) as proxy:
        if more:
            proxy.log.wait_for(0, "error", "all endpoints are down")

        def waits() -> float:
            return proxy.metrics()("sluice_upstream_waits_total", **{"in": "hold"})

        clients = []
        for number in range(CLIENTS):
            client = connect(listen)
            client.sendall(b"%d\n" % number)
            clients.append(client)
            # In the room before the next one comes: two workers accept in no particular order.
            wait_until(lambda: waits() > number, 5, "its turn to wait")
        gone = set(range(5, CLIENTS, CLIENTS // GIVE_UP))
        for number in gone:
            clients[number].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            clients[number].close()
        time.sleep(DOWN_SECONDS)
        began = server.start()
        answers = {}
        for number, client in enumerate(clients):
            if number in gone:
                continue
            try:
                answers[number] = client.makefile("rb").readline() == b"%d\n" % number
            except OSError:
                answers[number] = False
            client.close()
        server.stop()
        mark = len(clients)
        wait_until(lambda: len(proxy.log.since(0, "access", "end")) >= mark, 5, "the records")
        ends = [line.pairs["end"] for line in proxy.log.since(0, "access", "end")]
    stayed = CLIENTS - len(gone)
    report.check(
        f"{name}: everybody who waits is served",
        len(answers) == stayed and all(answers.values()),
        f"{sum(answers.values())} of {stayed}; ends {sorted(set(ends))}",
    )
    accepted = sorted(server.accepted)
    moments = [at for at, _ in accepted]
    if len(moments) < stayed:
        return
    per_second = (len(moments) - 1) / (moments[-1] - moments[0])
    most = densest(moments, 1.0)
    report.check(
        f"{name}: at the rate of {RATE} per second",
        RATE / RATE_SLACK <= per_second <= RATE * RATE_SLACK and most <= RATE * RATE_SLACK + 1,
        f"{per_second:.1f} per second, at most {most} within one",
    )
    report.check(
        f"{name}: soon after the endpoint is there",
        moments[0] - began <= NOTICE_SECONDS_MAX,
        f"{(moments[0] - began) * 1e3:.0f} ms",
    )
    numbers = [number for _, number in accepted]
    report.check(
        f"{name}: in the order of arrival, and nobody for those who are gone",
        numbers == sorted(set(range(CLIENTS)) - gone),
        f"{sum(a > b for a, b in zip(numbers, numbers[1:]))} out of order",
    )


def run(report: Report, kind: str) -> None:
    """With checks, and without."""
    if kind != "sluice":
        report.note("only Sluice is asked for this")
        return
    waits(report, "checked", CHECK)
    waits(report, "not checked", "")
