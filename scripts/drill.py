#!/usr/bin/env python3
"""A failure drill: three endpoints, clients that open sessions without pause, and one fault after another.

Each endpoint is a process of its own. In turn one of them is killed, stopped (SIGSTOP), closes its port,
or accepts and resets, and comes back; the two others serve all the time. Half of the clients speak at
once, the other half wait a moment first, so that connections break before and after the first byte.

What must hold, for each kind of fault:

  - No session fails for a connect: one that was refused, timed out, or reset before a byte was sent to the
    endpoint goes on to another endpoint, and its client does not notice.
  - Every other failure is one that no proxy can heal: bytes were sent to that endpoint, and nothing
    may be sent twice. It began before the proxy could know: within the time that the configuration implies
    for finding out, counted from the fault. And it ends by then, too, and is not left hanging.

QUICK=1 takes 15 s instead of 60. The report gives the figures of each kind; the exit code is 1 when
something does not hold.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lab.proxies import free_port, raise_descriptor_limit, wait_until  # noqa: E402
from lab.sluice import Line, Sluice  # noqa: E402

Address = tuple[str, int]

SECONDS = 15.0 if os.environ.get("QUICK") == "1" else 60.0
CLIENTS = 50
CLIENT_PROCESSES = 2
PATIENCE_SECONDS = 10.0
LATE_SECONDS = 0.01
# Room for all clients, so that an endpoint that is well turns nobody away; and little room for one that is
# about to be stopped, so that its queue is soon full and connects to it time out.
BACKLOG, BACKLOG_STOPPED = 2 * CLIENTS, 4

# The checks and all that follows from them for how soon a fault is found out.
EVERY, CHANGING, TIMEOUT, FALL, RISE, JITTER = 0.4, 0.1, 0.4, 2, 2, 0.1
CLOSE_OVER = 0.1
FAILURES = 3
# So far the beginning and the end of a session may seem apart to its client and to the proxy, together.
NEAR_SECONDS = 0.5
# What a busy machine may add: two processors, some seventy threads and processes.
SLACK = 0.5

# Ways in which a session ends that has found no endpoint.
CONNECT_ENDS = {
    "connect_refused", "connect_timed_out", "connect_failed", "unreachable", "no_endpoint",
    "all_down", "no_quorum", "retry_budget", "queue_full", "queue_timed_out", "hold_full", "hold_timed_out",
}  # fmt: skip

_fork = multiprocessing.get_context("fork")


def configuration(listen: Address, endpoints: list[Address]) -> str:
    """What the drill is about: checks, ejections, retries, and sessions of who is down."""
    lines = "\n".join(f'      - "{host}:{port}"' for host, port in endpoints)
    return f"""
workers: 2
routes:
  drill: {{listen: "{listen[0]}:{listen[1]}", to: drill}}
upstreams:
  drill:
    attempt: 250ms
    check:
      http: {{path: /health}}
      every: {{up: {EVERY * 1000:.0f}ms, changing: {CHANGING * 1000:.0f}ms}}
      timeout: {TIMEOUT * 1000:.0f}ms
      fall: {FALL}
      rise: {RISE}
      jitter: {JITTER:.0%}
    outlier: {{failures: {FAILURES}, eject_time: 1s, max_eject_time: 5s}}
    on_down: {{close: {CLOSE_OVER * 1000:.0f}ms}}
    endpoints:
{lines}
"""


def detection_seconds(answer_seconds: float) -> float:
    """How long a fault stays unknown at most when a check of it takes so long: an interval, then as many
    checks as it takes, and the next one begins when it is time and the one before is over."""
    longest = 1 + JITTER
    return EVERY * longest + (FALL - 1) * max(answer_seconds, CHANGING * longest) + answer_seconds


# MARK: The endpoints


class EndpointServer:
    """Answers `ping` with `pong` and a health check with 200, until it is told to be faulty."""

    def __init__(self, address: Address, control: multiprocessing.connection.Connection) -> None:
        self.address = address
        self.control = control
        self.poll = select.epoll()
        self.ends: dict[int, socket.socket] = {}
        self.listener: socket.socket | None = None
        self.resets = False

    def run(self) -> None:
        """Serves for ever."""
        self.poll.register(self.control.fileno(), select.EPOLLIN)
        self.listen()
        self.control.send("ready")
        while True:
            for descriptor, _ in self.poll.poll():
                if descriptor == self.control.fileno():
                    self.obey(self.control.recv())
                elif self.listener is not None and descriptor == self.listener.fileno():
                    self.accept()
                elif descriptor in self.ends:
                    self.answer(descriptor)

    def listen(self) -> None:
        """Opens the port."""
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(self.address)
        self.listener.listen(BACKLOG)  # and again with another length, while it listens
        self.listener.setblocking(False)
        self.poll.register(self.listener, select.EPOLLIN)

    def obey(self, word: str) -> None:
        """Becomes faulty, or well again."""
        self.resets = word == "reset"
        if word == "refuse" and self.listener is not None:
            # Those in its queue are reset by the kernel.
            self.listener.close()
            self.listener = None
        elif word == "serve" and self.listener is None:
            self.listen()
        elif self.listener is not None:
            self.listener.listen(BACKLOG_STOPPED if word == "shrink" else BACKLOG)
        self.control.send("done")

    def accept(self) -> None:
        """Takes all who wait."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self.listener is not None:
                end, _ = self.listener.accept()
                if self.resets:
                    reset(end)
                    continue
                end.setblocking(False)
                self.ends[end.fileno()] = end
                self.poll.register(end, select.EPOLLIN)

    def answer(self, descriptor: int) -> None:
        """Says what there is to say to one of them."""
        end = self.ends[descriptor]
        try:
            data = end.recv(4096)
            if data.startswith(b"GET "):
                end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            elif data:
                end.send(b"pong")
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            del self.ends[descriptor]
            end.close()


def reset(end: socket.socket) -> None:
    """Ends a connection by a reset."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


@dataclass
class Endpoint:
    """An endpoint's process, and what can be done to it."""

    address: Address
    process: multiprocessing.Process | None = None
    control: multiprocessing.connection.Connection | None = None

    def start(self) -> None:
        """Starts the process; returns when it listens."""
        ours, theirs = _fork.Pipe()

        def work() -> None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            ours.close()
            EndpointServer(self.address, theirs).run()

        self.process = _fork.Process(target=work, daemon=True)
        self.process.start()
        theirs.close()
        self.control = ours
        ours.recv()

    def tell(self, word: str) -> None:
        """Has it behave otherwise; returns when it does."""
        assert self.control is not None
        self.control.send(word)
        self.control.recv()

    def stop(self) -> None:
        """Stops the process: its kernel still accepts as many as its queue has room for."""
        assert self.process is not None and self.process.pid is not None
        self.tell("shrink")
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Has it go on."""
        assert self.process is not None and self.process.pid is not None
        os.kill(self.process.pid, signal.SIGCONT)
        self.tell("serve")

    def end(self) -> None:
        """Kills it, stopped or not; returns when it is gone."""
        if self.process is not None and self.process.is_alive():
            self.process.kill()
            self.process.join()


@dataclass(frozen=True)
class Fault:
    """A kind of fault: what begins it, what ends it, and how long a check of it takes."""

    name: str
    begin: object
    finish: object
    answer_seconds: float


FAULTS = (
    Fault("killed", lambda one: one.end(), lambda one: one.start(), 0.0),
    Fault("stopped", lambda one: one.stop(), lambda one: one.resume(), TIMEOUT),
    Fault("refusing", lambda one: one.tell("refuse"), lambda one: one.tell("serve"), 0.0),
    Fault("resetting", lambda one: one.tell("reset"), lambda one: one.tell("serve"), 0.0),
)


# MARK: The clients


@dataclass(frozen=True)
class Failure:
    """A session that did not get its answer."""

    began: float
    ended: float
    client: str
    what: str


@dataclass
class Tally:
    """What some clients have met: sessions that were served, by the tenth of a second in which they
    ended, and those that were not."""

    served: Counter[int] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    slowest: float = 0.0


def session(address: Address, is_late: bool) -> tuple[str, str]:
    """One session; returns the client's address and what went wrong, if anything."""
    name = "-"
    try:
        with socket.create_connection(address, PATIENCE_SECONDS) as end:
            host, port = end.getsockname()
            name = f"{host}:{port}"
            if is_late:
                select.select([end], [], [], LATE_SECONDS)
            end.sendall(b"ping")
            answer = b""
            while len(answer) < 4 and (data := end.recv(4 - len(answer))):
                answer += data
            return name, "" if answer == b"pong" else f"the stream ended after {answer!r}"
    except OSError as error:
        return name, f"{type(error).__name__}: {error}"


def clients(
    address: Address, count: int, over: object, results: multiprocessing.connection.Connection
) -> None:
    """Some clients, each in a thread, until it is over."""
    tally, lock = Tally(), threading.Lock()

    def work(number: int) -> None:
        while not over.is_set():  # type: ignore[attr-defined]
            began = time.time()
            name, what = session(address, number % 2 == 1)
            ended = time.time()
            with lock:
                tally.slowest = max(tally.slowest, ended - began)
                if what:
                    tally.failures.append(Failure(began, ended, name, what))
                else:
                    tally.served[int(ended * 10)] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.send(tally)


# MARK: The drill


@dataclass
class Turn:
    """A fault as it was made: at which endpoint, from when to when, and until when it counts."""

    fault: Fault
    endpoint: Address
    began: float
    finished: float = 0.0
    ended: float = 0.0


def make_faults(endpoints: list[Endpoint], proxy: Sluice) -> list[Turn]:
    """One fault after another, over and over, until the time is over."""
    turns: list[Turn] = []
    rounds = max(1, round(SECONDS / (len(FAULTS) * 5)))
    length = SECONDS / (rounds * len(FAULTS))
    for number in range(rounds * len(FAULTS)):
        fault = FAULTS[number % len(FAULTS)]
        one = endpoints[number % len(endpoints)]
        # A round of faults has one more than there are endpoints: each fault comes to each endpoint.
        began = time.time()
        turn = Turn(fault, one.address, began)
        turns.append(turn)
        fault.begin(one)  # type: ignore[operator]
        time.sleep(max(0.0, began + length * 0.55 - time.time()))
        turn.finished = time.time()
        fault.finish(one)  # type: ignore[operator]
        time.sleep(max(0.0, began + length - time.time()))
        # All are to be well before the next fault: two at a time are another drill.
        wait_until(lambda: all_are_up(proxy, len(endpoints)), 10, "all endpoints to be up")
        turn.ended = time.time()
    return turns


def all_are_up(proxy: Sluice, count: int) -> bool:
    """Whether sessions are given to all endpoints."""
    return proxy.metrics()("sluice_upstream_healthy_endpoints") == count


def record_of(failure: Failure, ends: dict[str, list[Line]]) -> Line | None:
    """The record of a session that has failed: of its client's address, and nearest in time.

    On loopback a port may serve again a moment after its last connection, and the proxy's clock is that
    of a turn of its loop, some milliseconds old on a busy machine.
    """

    def distance(line: Line) -> float:
        began = line.time - float(line.pairs["duration_ms"]) / 1000
        return abs(began - failure.began) + abs(line.time - failure.ended)

    near = [line for line in ends.get(failure.client, []) if distance(line) < NEAR_SECONDS]
    return min(near, key=distance, default=None)


def is_connect_failure(line: Line | None) -> bool:
    """Whether a session has failed for a connect, of whatever kind."""
    if line is None:
        return True  # Nobody took it to an endpoint.
    end, up, down, phase = (line.pairs.get(key) for key in ("end", "up", "down", "phase"))
    # What was sent to an endpoint that had finished in order was reset: it is not in `up`, which counts what
    # was acknowledged.
    had_finished = phase == "upstream_finished"
    return end in CONNECT_ENDS or end == "reset" and up == down == "0" and not had_finished


def text(address: Address) -> str:
    """`host:port`."""
    return f"{address[0]}:{address[1]}"


def judge(turns: list[Turn], tally: Tally, ends: dict[str, list[Line]]) -> bool:
    """Prints what each kind of fault has come to. Returns whether all of it is as it must be."""
    is_good = True
    seen: set[int] = set()
    print(f"{'fault':<10} {'sessions':>9} {'connect':>8} {'other':>6}  the others begin and end within")
    for fault in FAULTS:
        mine = [turn for turn in turns if turn.fault is fault]
        sessions = connects = 0
        latest_begin = latest_end = 0.0
        others = 0
        complaints: list[str] = []
        known_within = detection_seconds(fault.answer_seconds) + SLACK
        over_within = known_within + CLOSE_OVER
        for turn in mine:
            span = range(int(turn.began * 10), int(turn.ended * 10))
            sessions += sum(tally.served[tenth] for tenth in span)
            for position, failure in enumerate(tally.failures):
                if not turn.began <= failure.ended < turn.ended:
                    continue
                seen.add(position)
                sessions += 1
                line = record_of(failure, ends)
                if is_connect_failure(line):
                    connects += 1
                    complaints.append(f"{failure.what} | {line.text if line else 'no record'}")
                    continue
                others += 1
                latest_begin = max(latest_begin, failure.began - turn.began)
                latest_end = max(latest_end, failure.ended - turn.began)
                if line is not None and line.pairs["endpoint"] != text(turn.endpoint):
                    complaints.append(f"at an endpoint that was well | {failure.what} | {line.text}")
        holds = connects == 0 and latest_begin <= known_within and latest_end <= over_within
        holds = holds and not complaints and sessions > 0
        is_good = is_good and holds
        print(
            f"{fault.name:<10} {sessions:>9} {connects:>8} {others:>6}  "
            f"{latest_begin:.2f} s and {latest_end:.2f} s of the fault"
            f" (implied: {known_within:.2f} s and {over_within:.2f} s)"
            f"  {'PASS' if holds else 'FAIL'}"
        )
        for complaint in complaints[:5]:
            print(f"    {complaint}")
    strays = [failure for place, failure in enumerate(tally.failures) if place not in seen]
    if strays:
        is_good = False
        print(f"{len(strays)} failures while nothing was wrong: {strays[0].what}")
    print(f"the slowest session took {tally.slowest:.2f} s")
    return is_good


def run() -> bool:
    """The drill from the start to the report."""
    listen = ("127.0.0.1", free_port())
    endpoints = [Endpoint(("127.0.0.1", free_port())) for _ in range(3)]
    try:
        for one in endpoints:
            one.start()
        with Sluice(configuration(listen, [one.address for one in endpoints])) as proxy:
            over = _fork.Event()
            pipes = [_fork.Pipe(duplex=False) for _ in range(CLIENT_PROCESSES)]
            crowd = [
                _fork.Process(
                    target=clients,
                    args=(listen, CLIENTS // CLIENT_PROCESSES, over, theirs),
                    daemon=True,
                )
                for _, theirs in pipes
            ]
            for one_process in crowd:
                one_process.start()
            turns = make_faults(endpoints, proxy)
            over.set()
            tally = Tally()
            for ours, _ in pipes:
                part = ours.recv()
                tally.served += part.served
                tally.failures += part.failures
                tally.slowest = max(tally.slowest, part.slowest)
            for one_process in crowd:
                one_process.join()
            wait_until(lambda: proxy.metrics()("sluice_sessions") == 0, 10, "the last session")
            ends: dict[str, list[Line]] = {}
            failed = {failure.client for failure in tally.failures}
            for line in proxy.log.since(0, "access", "end"):
                if line.pairs["client"] in failed:
                    ends.setdefault(line.pairs["client"], []).append(line)
            numbers = proxy.metrics()
            is_good = judge(turns, tally, ends)
            print(
                f"{len(turns)} faults in {turns[-1].ended - turns[0].began:.0f} s; ejections: "
                f"{numbers('sluice_endpoint_ejections_total'):.0f}; times down: "
                f"{len(proxy.log.since(0, 'warning', 'endpoint is down'))}; connects that failed and "
                f"were made good: {numbers('sluice_connect_failures_total'):.0f}"
            )
            return is_good
    finally:
        for one in endpoints:
            one.end()


def main() -> int:
    """The exit code."""
    raise_descriptor_limit()
    print(f"drill: {CLIENTS} clients, 3 endpoints, {SECONDS:.0f} s")
    is_good = run()
    print("drill: PASS" if is_good else "drill: FAIL")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
