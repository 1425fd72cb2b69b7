"""An endpoint's process is killed, or stopped: who is affected, how soon, what the log says.

Killed. The kernel ends the connections of a process that is gone: in order where the process had
read everything, by a reset where it had not. So an idle session ends `finished` once its client has
closed, too, and one that was sending ends `reset`, both `by=upstream`; sessions of the other
endpoint do not notice. New clients must all be served: a connect that is refused goes to the other
endpoint, and so does a session that is reset before a byte has gone either way, such as one that
still waited in the queue of the endpoint that was killed.

Stopped: see freeze.py.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections import Counter

from freeze import freeze
from harness import Address, Report
from lab.proxies import free_port, wait_until
from lab.sluice import Line, Sluice
from named import NAME_BYTES, Client, close, spread
from pair import configuration, running
from traffic import connect

SESSIONS = 200
UPLOADS = 20
QUEUED = 60
END_SECONDS_MAX = 1.0


class Newcomers:
    """Clients that come one after the other all the time, in threads; none may fail."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.served: Counter[str] = Counter()
        self.failures: list[tuple[float, str]] = []
        self.slowest = 0.0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(4)]

    def _work(self) -> None:
        while not self._over.is_set():
            start = time.time()
            name, failure = "", ""
            try:
                client = Client(self.address)
                name = client.name
                client.close()
            except OSError as error:
                failure = f"{type(error).__name__}: {error}"
            with self._lock:
                self.slowest = max(self.slowest, time.time() - start)
                if failure:
                    self.failures.append((start, failure))
                else:
                    self.served[name] += 1

    def __enter__(self) -> Newcomers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def failed(self, killed: float) -> list[str]:
        """What went wrong. Whoever had come before the kill, had been accepted by that process, and
        was ended in order by its kernel before the first word, is one of the sessions it took
        along.
        """
        return [
            what for start, what in self.failures if start > killed or "ended before" not in what
        ]

    def told(self, killed: float) -> str:
        """How they fared."""
        failed = self.failed(killed)
        taken = len(self.failures) - len(failed)
        words = [spread(self.served), f"{len(failed)} failed {set(failed) or ''}".rstrip()]
        words += [f"{taken} ended with the process"] if taken else []
        return ", ".join([*words, f"the slowest took {self.slowest * 1e3:.0f} ms"])


def ends_of(proxy: Sluice, clients: list[Client]) -> dict[str, Line]:
    """The end record of each of these clients, by its address: the first, for somebody else may have
    the same port later."""
    lines = proxy.log.since(0, "access", "end")
    records = {line.pairs["client"]: line for line in reversed(lines)}
    return {client.local: records[client.local] for client in clients if client.local in records}


def check_ends(
    report: Report, what: str, proxy: Sluice, clients: list[Client], killed: float, wanted: str
) -> None:
    """Each of these ended soon after the kill, as wanted."""
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: len(ends_of(proxy, clients)) == len(clients), 5, "their records")
    ends = ends_of(proxy, clients)
    seen = Counter(f"{line.pairs['end']} by {line.pairs['by']}" for line in ends.values())
    latest = max((line.time - killed for line in ends.values()), default=float("inf"))
    report.check(
        what,
        seen == Counter({wanted: len(clients)}) and latest < END_SECONDS_MAX,
        f"{dict(seen)} of {len(clients)}, the last {latest * 1e3:.0f} ms after the kill",
    )


def killed(report: Report) -> None:
    """Sessions of all kinds, newcomers all the time, and one of two endpoints is killed."""
    address = ("127.0.0.1", free_port())
    with running("A") as first, running("B") as second:
        with Sluice(configuration({"main": address}, [first, second])) as proxy:
            uploads = [Client(address) for _ in range(UPLOADS)]
            for client in uploads:
                client.upload()
            clients = [Client(address) for _ in range(SESSIONS)]
            idle = [client for client in clients if client.name == "A"]
            others = [client for client in clients if client.name == "B"]
            sending = [client for client in uploads if client.name == "A"]
            with Newcomers(address) as newcomers:
                wait_until(lambda: newcomers.served.total() > 200, 5, "newcomers")
                before = newcomers.served["B"]
                at = first.kill()
                seen = Counter(client.outcome() for client in idle + sending)
                seconds = time.time() - at
                close(idle)
                wait_until(lambda: newcomers.served["B"] > before + 500, 10, "newcomers")
            report.check(
                "killed: every client of it sees the end",
                seen == {"end": len(idle), "reset": len(sending)} and seconds < END_SECONDS_MAX,
                f"{dict(seen)} within {seconds * 1e3:.0f} ms",
            )
            wanted = "finished by upstream"
            check_ends(report, "killed: the log of those that were idle", proxy, idle, at, wanted)
            wanted = "reset by upstream"
            check_ends(report, "killed: the log of those that sent", proxy, sending, at, wanted)
            alive = sum(client.is_alive() for client in others)
            report.check(
                "killed: sessions of the other endpoint",
                alive == len(others) > 0,
                f"{alive} of {len(others)} alive",
            )
            report.check(
                "killed: newcomers before, meanwhile and after",
                not newcomers.failed(at),
                newcomers.told(at),
            )
            close(others + uploads)


def killed_with_a_queue(report: Report) -> None:
    """The endpoint accepts nobody any more when it is killed: who waits there is reset, and moves
    on."""
    address = ("127.0.0.1", free_port())
    with running("A") as first, running("B") as second:
        with Sluice(configuration({"main": address}, [first, second])) as proxy:
            os.kill(first.pid, signal.SIGSTOP)
            mark = proxy.log.mark()
            ends = [connect(address) for _ in range(QUEUED)]

            def ready() -> int:
                return len(select.select(ends, [], [], 0)[0])

            with contextlib.suppress(TimeoutError):
                wait_until(lambda: ready() >= QUEUED // 2, 5, "those of the other endpoint")
            time.sleep(0.2)
            before = ready()
            first.kill()
            names: Counter[str] = Counter()
            for end in ends:
                with end:
                    end.settimeout(3)
                    try:
                        names[end.recv(NAME_BYTES).decode() or "nobody"] += 1
                    except OSError as error:
                        names[type(error).__name__] += 1
            report.check(
                "killed with a queue: who waited there is served by the other",
                names == {"B": QUEUED} and before == QUEUED // 2,
                f"{spread(names)}, {before} of them before the kill",
            )
            with contextlib.suppress(TimeoutError):
                wait_until(
                    lambda: len(proxy.log.since(mark, "access", "end")) >= QUEUED, 5, "records"
                )
            attempts = Counter(
                int(line.pairs["attempts"]) for line in proxy.log.since(mark, "access", "end")
            )
            report.check(
                "killed with a queue: their records tell of two attempts",
                attempts == {1: before, 2: QUEUED - before},
                ", ".join(f"{count} of {number}" for number, count in sorted(attempts.items())),
            )


def run(report: Report, kind: str) -> None:
    """Killed, killed with clients in its queue, stopped."""
    if kind != "sluice":
        report.note("only Sluice is asked for this")
        return
    killed(report)
    killed_with_a_queue(report)
    freeze(report)
