"""10,000 sessions that reset, close, half-close, pause or close their window at random phases.

Both ends play at random from a seed that is printed (CHAOS_SEED repeats it, as far as the timing
of processes lets it). What an end receives must be a prefix of what the other end's stream
consists of; and a stream ends in order only at places of a certain kind, so that an end that comes
to the receiver in order after a lost tail is noticed. Meanwhile an ordinary session every now and then must work at once; afterwards the
proxy is alive, quiet, and holds no more descriptors than before.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterator

from harness import Address, Report, check_descriptors, check_no_cpu, mib, settle
from lab import procfs
from lab.proxies import Proxy, Route, Settings, free_port
from traffic import (
    address_of,
    connect,
    echo,
    endpoint,
    listening,
    ping_once,
    process,
    reset,
    warm_up,
)

SESSIONS = 10_000
WARM_SESSIONS = 500
PIPES_POOLED_MAX = 64
PROCESSES = 2
THREADS = 40
STEPS_MAX = 6
STEP_SECONDS_MAX = 0.1
PLAIN_SECONDS_MAX = 2.0
MESS_EXIT_CODE = 3

# What each side sends, over and over from the start: its length is a prime, so that a loss or a
# repetition of whole buffers cannot go unnoticed.
STREAMS = {
    "client": random.Random(1).randbytes(65_537),
    "endpoint": random.Random(2).randbytes(65_537),
}
# An end stops sending in order only where the count of its bytes leaves this rest. The divisor is a
# prime as well, and the rest is not 0: a stream of which nothing arrived did not end there either.
END_DIVISOR, END_REST = 4_099, 1
OTHER = {"client": "endpoint", "endpoint": "client"}


class Player:
    """One end of one session, playing at random for a bounded time."""

    def __init__(self, end: socket.socket, side: str, dice: random.Random) -> None:
        self.end, self.dice = end, dice
        self.sends, self.receives = STREAMS[side], STREAMS[OTHER[side]]
        self.sent = self.received = 0
        self.may_send = True

    def play(self) -> bool:
        """Plays to its end; whether all that was received was what it should be."""
        right = True
        try:
            self.end.settimeout(STEP_SECONDS_MAX)
            if self.dice.random() < 0.2:
                self.end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            for _ in range(self.dice.randrange(STEPS_MAX + 1)):
                right = self._step() and right
            right = self._finish() and right
        except OSError:
            # The other end has its own ideas of how to end; this one does not end in order.
            with contextlib.suppress(OSError):
                reset(self.end)
        finally:
            self.end.close()
        return right

    def _step(self) -> bool:
        step = self.dice.random()
        if step < 0.35 and self.may_send:
            self._send(int(2 ** self.dice.uniform(0, 18)))
        elif step < 0.75:
            return self._receive(int(2 ** self.dice.uniform(0, 18)))
        elif step < 0.85 and self.may_send:
            if self._complete():
                self.end.shutdown(socket.SHUT_WR)
                self.may_send = False
        else:
            time.sleep(self.dice.uniform(0, 0.02))  # a pause, or a window that closes
        return True

    def _finish(self) -> bool:
        manner = self.dice.random()
        if manner < 0.35 or not self._complete():
            reset(self.end)
        elif manner < 0.65:
            self.end.close()
        else:
            self.end.shutdown(socket.SHUT_WR)
            return self._receive(2**20)
        return True

    def _complete(self) -> bool:
        """Sends up to a place where a stream may end in order; whether it got there."""
        self._send((END_REST - self.sent) % END_DIVISOR)
        return self.sent % END_DIVISOR == END_REST

    def _send(self, count: int) -> None:
        with contextlib.suppress(TimeoutError):
            while count > 0:
                offset = self.sent % len(self.sends)
                sent = self.end.send(self.sends[offset : offset + count])
                self.sent += sent
                count -= sent

    def _receive(self, count: int) -> bool:
        with contextlib.suppress(TimeoutError):
            while count > 0:
                chunk = self.end.recv(min(count, 65_536))
                if not chunk:
                    return self.received % END_DIVISOR == END_REST
                offset = self.received % len(self.receives)
                expected = self.receives[offset : offset + len(chunk)]
                expected += self.receives[: len(chunk) - len(expected)]
                if chunk != expected:
                    return False
                self.received += len(chunk)
                count -= len(chunk)
        return True


def clients(address: Address, seed: int, first: int, count: int) -> None:
    """Plays the client's side of so many sessions with some threads."""
    numbers = iter(range(first, first + count))
    lock = threading.Lock()
    mess = threading.Event()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                client = connect(address)
            except ConnectionResetError:
                continue  # accepted, and reset by the other end before connect(2) had returned
            except OSError:
                mess.set()  # a listener that refuses, or does not accept for very long
                return
            if not Player(client, "client", random.Random(f"client {seed} {number}")).play():
                mess.set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(MESS_EXIT_CODE if mess.is_set() else 0)


def endpoints(server: socket.socket, seed: int) -> None:
    """Plays the endpoint's side of every session; ends itself when bytes were not right."""
    server.settimeout(None)

    def work(end: socket.socket, number: int) -> None:
        if not Player(end, "endpoint", random.Random(f"endpoint {seed} {number}")).play():
            os._exit(MESS_EXIT_CODE)

    number = 0
    while True:
        end, _ = server.accept()
        number += 1
        threading.Thread(target=work, args=(end, number), daemon=True).start()


@contextlib.contextmanager
def plain_sessions(address: Address) -> Iterator[list[float]]:
    """Meanwhile: one ordinary session after the other; yields the seconds each took."""
    times: list[float] = []
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            start = time.monotonic()
            try:
                worked = ping_once(address)
            except OSError:
                worked = False
            times.append(time.monotonic() - start if worked else float("inf"))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


def rage(address: Address, seed: int, count: int) -> list[int | None]:
    """So many sessions from some processes; how each ended, None for one that hangs."""
    each = count // PROCESSES
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(process(clients, address, seed, index * each, each))
            for index in range(PROCESSES)
        ]
        for worker in workers:
            worker.join(timeout=120)
        return [worker.exitcode for worker in workers]


def run(report: Report, kind: str) -> None:
    """The storm, and what is left after it."""
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns() % 1_000_000))
    report.note(f"seed {seed} (CHAOS_SEED={seed} repeats it)")
    storm, plain = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    server = listening()
    with contextlib.ExitStack() as stack:
        playing = stack.enter_context(process(endpoints, server, seed))
        [echoing] = stack.enter_context(endpoint(echo))
        routes = [
            Route("storm", [f"127.0.0.1:{storm[1]}"], [f"127.0.0.1:{address_of(server)[1]}"]),
            Route("plain", [f"127.0.0.1:{plain[1]}"], [f"127.0.0.1:{echoing[1]}"]),
        ]
        server.close()
        proxy = stack.enter_context(Proxy(kind, Settings(routes)))
        rage(storm, seed + 1, WARM_SESSIONS)
        descriptors, memory = warm_up(proxy, plain), procfs.pss_bytes(proxy.pid)
        start = time.monotonic()
        with plain_sessions(plain) as times:
            codes = rage(storm, seed, SESSIONS)
        seconds = time.monotonic() - start
        report.check("no hang", None not in codes, f"{SESSIONS} sessions in {seconds:.1f} s")
        report.check(
            "no byte lost before an orderly end, doubled or out of order",
            MESS_EXIT_CODE not in codes and playing.is_alive(),
            f"clients ended with {codes}, endpoint alive: {playing.is_alive()}",
        )
        report.check("no crash", proxy.is_alive, "alive" if proxy.is_alive else proxy.output())
        worst = max(times, default=float("inf"))
        report.check(
            "ordinary sessions meanwhile",
            worst < PLAIN_SECONDS_MAX,
            f"{len(times)}, the slowest took {worst * 1e3:.0f} ms",
        )
        check_descriptors(report, proxy, descriptors, kept=PIPES_POOLED_MAX)
        settle(proxy)
        check_no_cpu(report, "CPU afterwards", proxy, seconds=1.5)
        report.check("a plain session afterwards", ping_once(plain), "echoed")
        report.note(f"memory: {mib(procfs.pss_bytes(proxy.pid) - memory)} more than before")
