"""Cases of how sessions end: accepting at a bound, clients that are gone (11, 12, 14), new keys."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from end_cases_connecting import PORT_RANGE, ask
from ends_proxy import proxy, stopped
from ends_sockets import Endpoint, Reader, Spot, Spots, echo, pattern, reset
from harness import Report, median
from traffic import process, receive_exactly

from lab import network
from lab.proxies import free_port, wait_until

MAX_WATCHES = Path("/proc/sys/fs/epoll/max_user_watches")
REUSE = Path("/proc/sys/net/ipv4/tcp_tw_reuse")
# A user of its own, which need not exist: watches are counted by user.
WATCHING_USER = 64_317
WATCHES = 40_000


def case_11(report: Report) -> None:
    """The one place is taken, a client waits, and the session ends. There are
    two workers: it may be the one that paused accepting, or the other one. Which one differs from
    start to start."""
    starts, rounds = 6, 5
    medians = []
    for _ in range(starts):
        with Spots() as spots, Endpoint(spots.new(), echo) as endpoint:
            listen = spots.new()
            with proxy(listen, endpoint.spot, top={"workers": "2", "max_sessions": "1"}):
                measured = []
                session = listen.connect()
                session.sendall(b"ping")
                receive_exactly(session, 4)
                for _ in range(rounds):
                    waiting = listen.connect()
                    waiting.sendall(b"ping")
                    time.sleep(0.1)  # until accepting pauses
                    start = time.monotonic()
                    session.close()
                    if receive_exactly(waiting, 4) != b"ping":
                        raise AssertionError("not served")
                    measured.append(time.monotonic() - start)
                    session = waiting
                session.close()
        medians.append(median(measured))
    report.check(
        f"the client that waits is served at once, medians of {rounds} in {starts} starts",
        max(medians) < 0.2,
        f"{', '.join(f'{seconds * 1e3:.0f}' for seconds in medians)} ms",
    )


def use_watches(leave: int, wire: int) -> None:
    """Takes the user's epoll watches but for some, says so, and keeps them until it is ended."""
    os.setresgid(WATCHING_USER, WATCHING_USER, WATCHING_USER)
    os.setresuid(WATCHING_USER, WATCHING_USER, WATCHING_USER)
    watched = [os.eventfd(0) for _ in range(400)]
    polls = [select.epoll() for _ in range(WATCHES // len(watched) + 1)]
    taken = []
    with contextlib.suppress(OSError):
        for poll in polls:
            for descriptor in watched:
                poll.register(descriptor, select.EPOLLIN)
                taken.append((poll, descriptor))
    for poll, descriptor in taken[len(taken) - leave :]:
        poll.unregister(descriptor)
    os.write(wire, b"%d\n" % len(taken))
    signal.pause()


@contextlib.contextmanager
def few_watches() -> Iterator[None]:
    """Lowers the bound of epoll watches per user, for all users of this machine: still far more
    than any of them has by itself."""
    before = MAX_WATCHES.read_text(encoding="ascii")
    MAX_WATCHES.write_text(str(WATCHES), encoding="ascii")
    try:
        yield
    finally:
        MAX_WATCHES.write_text(before, encoding="ascii")


def case_12(report: Report) -> None:
    """A process of the same user takes the watches but for a few; 100 clients come; it ends."""
    clients, leave = 100, 12
    with contextlib.ExitStack() as stack:
        spots = stack.enter_context(Spots())
        endpoint = stack.enter_context(Endpoint(spots.new(), echo))
        listen = spots.new()
        try:
            stack.enter_context(few_watches())
        except OSError as error:
            report.note(f"not tested: fs.epoll.max_user_watches cannot be set ({error})")
            return
        sluice = proxy(listen, endpoint.spot)
        sluice.user = WATCHING_USER
        stack.enter_context(sluice)
        ask(listen)
        ours, theirs = os.pipe()
        with process(use_watches, leave, theirs):
            if not select.select([ours], [], [], 20)[0]:
                raise TimeoutError("the watches were not taken")
            os.read(ours, 100)
            crowd = []
            for _ in range(clients):
                with contextlib.suppress(OSError):  # reset before connect(2) has returned
                    client = listen.connect()
                    crowd.append(client)
                    client.sendall(b"ping")
            time.sleep(2)  # for as long as a program that does not pause needs to lose them all
            early = [outcome(client) for client in crowd]
        waiting = [client for client, what in zip(crowd, early, strict=True) if what == "waits"]
        deadline = time.monotonic() + 15
        late = []
        for client in waiting:
            select.select([client], [], [], max(0.0, deadline - time.monotonic()))
            late.append(outcome(client))
        again = ask(listen)
        # Not before: the admin interface needs a watch, too.
        pauses = sluice.metrics()("sluice_accept_pauses_total")
        told = [line.message for line in sluice.log.since(0, "warning", "accept")]
        os.close(ours)
        os.close(theirs)
        for client in crowd:
            client.close()
    lost = early.count("lost") + clients - len(crowd)
    report.check(
        "no watches left: few clients are lost",
        lost <= 4,
        f"{lost} of {clients}; {dict(Counter(early))}",
    )
    report.check(
        "accepting pauses, and the log says so",
        pauses > 0 and bool(told),
        f"{pauses:.0f}; {told[:1]}",
    )
    report.check(
        "all that waited are served afterwards",
        late.count("served") == len(waiting) > 0 and again,
        f"{dict(Counter(late))} of {len(waiting)}; a new client: {again}",
    )


def outcome(client: socket.socket) -> str:
    """What has become of a client that asked for an echo, without waiting for it."""
    if not select.select([client], [], [], 0)[0]:
        return "waits"
    try:
        return "served" if client.recv(4) == b"ping" else "lost"
    except OSError:
        return "lost"


def case_14(report: Report) -> None:
    """Clients that are gone before the proxy comes to accept them cost the endpoint nothing."""
    clients = 50
    with Spots() as spots, Endpoint(spots.new(), echo) as endpoint:
        listen = spots.new()
        with proxy(listen, endpoint.spot, top={"workers": "2"}) as sluice:
            ask(listen)
            before = endpoint.accepted
            with stopped(sluice):
                for _ in range(clients):
                    reset(listen.connect())
            accepted = connections(listen, endpoint, before)
    report.check(
        f"{clients} clients reset before they are accepted",
        accepted == 0,
        f"{accepted} connections",
    )


def connections(listen: Spot, endpoint: Endpoint, before: int) -> int:
    """How many connections the endpoint has got since, once the proxy has served everybody."""
    own = 0

    def is_served() -> bool:
        nonlocal own
        own += 1
        return ask(listen)

    wait_until(is_served, 10, "a session")
    time.sleep(0.5)  # for what might still come
    return endpoint.accepted - before - own


def drop_silent_clients(report: Report) -> None:
    """Clients that connect and finish without a byte: in the backlog, and in the queue."""
    clients = 20
    for family in ("tcp", "unix"):
        for value, expected in (("true", 0), ("false", clients)):
            with Spots() as spots, Endpoint(spots.new(), echo) as endpoint:
                listen = spots.new(family)
                route = {"drop_silent_clients": value}
                with proxy(listen, endpoint.spot, route=route) as sluice:
                    ask(listen)
                    before = endpoint.accepted
                    with stopped(sluice):
                        for _ in range(clients):
                            listen.connect().close()
                        speaking = listen.connect()
                        speaking.sendall(b"last words")
                        speaking.shutdown(socket.SHUT_WR)
                    words = receive_exactly(speaking, 100)
                    speaking.close()
                    accepted = connections(listen, endpoint, before) - 1
            report.check(
                f"{family}, drop_silent_clients: {value}, {clients} in the backlog",
                accepted == expected and words == b"last words",
                f"{accepted} connections; one that spoke and finished: {words!r}",
            )
    with Spots() as spots, Endpoint(spots.new(), echo) as endpoint:
        listen = spots.new()
        upstream = {"max_sessions": "1", "queue": "{length: 100, timeout: 20s}"}
        route = {"drop_silent_clients": "true"}
        with proxy(listen, endpoint.spot, route=route, upstream=upstream) as sluice:
            holder = listen.connect()
            holder.sendall(b"ping")
            receive_exactly(holder, 4)
            before = endpoint.accepted
            for _ in range(clients):
                listen.connect().close()
            time.sleep(0.5)
            holder.close()
            accepted = connections(listen, endpoint, before)
    report.check(f"{clients} in the queue", accepted == 0, f"{accepted} connections")


def avoid_time_wait(report: Report) -> None:
    """500 short sessions in a network with 200 ports for outgoing connections, which a connection
    in TIME_WAIT keeps. Clients come over a unix socket and close first."""
    where = network.isolate()
    if not where.startswith("a namespace"):
        report.note(f"not tested: no network namespace ({where})")
        return
    admin_port, port = free_port(), free_port()
    PORT_RANGE.write_text("40000 40199", encoding="ascii")
    REUSE.write_text("0", encoding="ascii")
    sessions, upload, answer = 500, 5_000, 20_000
    whole: Counter[str] = Counter()
    lock = threading.Lock()

    def serve(end: socket.socket) -> None:
        request = receive_exactly(end, upload)
        end.sendall(pattern(answer))
        rest = Reader(end)
        rest.run()
        with lock:
            whole[rest.ending if request == pattern(upload) else "damaged"] += 1

    with Spots() as spots:
        target = Spot("tcp", ("127.0.0.1", port))
        listen = spots.new("unix")
        with Endpoint(target, serve):
            sluice = proxy(listen, target, upstream={"avoid_time_wait": "true"})
            sluice.admin_port = admin_port
            served = 0
            with sluice:
                for _ in range(sessions):
                    with listen.connect() as client, contextlib.suppress(OSError):
                        client.sendall(pattern(upload))
                        served += receive_exactly(client, answer) == pattern(answer)
                wait_for = time.monotonic() + 5
                while sum(whole.values()) < served and time.monotonic() < wait_for:
                    time.sleep(0.05)
    report.check(
        f"{sessions} sessions with 200 ports: all are served", served == sessions, f"{served}"
    )
    report.check(
        "the endpoint gets every byte, and then a reset",
        whole["reset"] + whole["orderly end"] == sessions,
        f"{dict(whole)}",
    )
