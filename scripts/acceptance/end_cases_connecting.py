"""Cases of how sessions end: what counts against an endpoint, what does not (7 to 10, 13)."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from pathlib import Path

from ends_proxy import proxy
from ends_sockets import Endpoint, Reader, Spot, Spots, crowded, echo, no_delay, reset
from harness import Report
from traffic import receive_exactly

from lab import network
from lab.proxies import free_port, wait_until
from lab.sluice import Sluice

PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
ACCEPTS_AFTER_SECONDS = 2.5


def ask(spot: Spot, message: bytes = b"ping", seconds: float = 20) -> bool:
    """One whole session at an echoing endpoint; whether the message came back."""
    try:
        with spot.connect(seconds=seconds) as client:
            client.sendall(message)
            return receive_exactly(client, len(message)) == message
    except OSError:
        return False


def serve(server: socket.socket, until: threading.Event) -> None:
    """Accepts and echoes in threads until told to stop."""
    server.settimeout(0.1)
    while not until.is_set():
        with contextlib.suppress(OSError):
            end, _ = server.accept()
            end.settimeout(20)
            threading.Thread(target=_echo_and_close, args=(end,), daemon=True).start()


def _echo_and_close(end: socket.socket) -> None:
    with end, contextlib.suppress(OSError):
        no_delay(end)
        echo(end)


def case_7(report: Report) -> None:
    """The kernel drops connection requests for some time: the one endpoint there is gets all the
    time that `connect` gives. Where there is another endpoint, the session goes there."""
    for others in (0, 1):
        with Spots() as spots, contextlib.ExitStack() as stack:
            listen, target = spots.new(), spots.new()
            server = stack.enter_context(target.listen(backlog=0))
            targets = [target]
            for _ in range(others):
                targets.append(stack.enter_context(Endpoint(spots.new(), echo)).spot)
            with proxy(listen, *targets, upstream={"connect": "5s", "balance": "first"}):
                began = time.monotonic()
                until = threading.Event()
                with crowded(server, target):
                    client = listen.connect()
                    client.sendall(b"ping")
                    if others:
                        served = receive_exactly(client, 4) == b"ping"
                    else:
                        time.sleep(ACCEPTS_AFTER_SECONDS)  # the case itself: it needs so long
                thread = threading.Thread(target=serve, args=(server, until), daemon=True)
                thread.start()
                if not others:
                    try:
                        served = receive_exactly(client, 4) == b"ping"
                    except OSError:
                        served = False
                seconds = time.monotonic() - began
                client.close()
                until.set()
                thread.join(5)
            what = "another endpoint is free" if others else "the only endpoint"
            report.check(
                f"{what}, one accepts after {ACCEPTS_AFTER_SECONDS} s, connect: 5s",
                served and seconds < (4.5 if others else 7),
                f"{'served' if served else 'not served'} after {seconds:.1f} s",
            )


def case_8(report: Report) -> None:
    """A dead endpoint's port is one of four that the kernel gives to outgoing connections, so that
    every fourth connection there would be one to itself. Clients come over a unix socket, which
    needs no port."""
    where = network.isolate()
    if not where.startswith("a namespace"):
        report.note(f"not tested: no network namespace ({where})")
        return
    admin_port = free_port()
    PORT_RANGE.write_text("50000 50003", encoding="ascii")
    own = 0
    with Spots() as spots:
        dead = [Spot("tcp", ("127.0.0.1", 50000)), Spot("tcp", ("127.0.0.1", 50001))]
        listen = spots.new("unix")
        off = {"retry": "off", "outlier": "off"}
        sluice = proxy(listen, *dead, upstream=off)
        sluice.admin_port = admin_port
        endings: Counter[str] = Counter()
        with sluice:
            for _ in range(100):
                with listen.connect(seconds=2) as client:
                    with contextlib.suppress(OSError):
                        client.sendall(b"mine")
                    reader = Reader(client, limit=4, seconds=2)
                    reader.run()
                    own += reader.received > 0
                    endings[reader.ending] += 1
            read = sluice.metrics()
            attempts = read("sluice_connect_attempts_total")
            refused = read("sluice_connect_failures_total", reason="connect_refused")
        report.check(
            "no client gets its own bytes back", own == 0, f"{own} of 100; {dict(endings)}"
        )
        report.check(
            "every attempt counts as refused",
            refused == attempts > 0,
            f"{refused:.0f} of {attempts:.0f}",
        )
        checks = "{tcp: {}, every: 20ms, timeout: 1s, rise: 1, fall: 1, initial: down}"
        sluice = proxy(spots.new("unix"), *dead, upstream={"check": checks})
        sluice.admin_port = admin_port
        with sluice:
            time.sleep(5)  # some 500 checks
            lines = [
                line
                for line in sluice.log.read()
                if "endpoint" in line.message and " up" in line.message
            ]
        report.check(
            "no check says that it is up", not lines, f"{len(lines)} lines of the log say so"
        )


def case_9(report: Report) -> None:
    """Clients that finish without a byte. The endpoint resets such connections, as some do: that is
    no failure of an endpoint, and none that another endpoint could put right."""
    clients = 20

    def scanned(end: socket.socket) -> None:
        if not end.recv(100):
            reset(end)

    for how in ("closes", "closes its write half", "resets"):
        with Spots() as spots, contextlib.ExitStack() as stack:
            endpoints = [stack.enter_context(Endpoint(spots.new(), scanned)) for _ in range(3)]
            listen = spots.new()
            more = {"outlier": "{failures: 3}"}
            with proxy(listen, *[e.spot for e in endpoints], upstream=more) as sluice:
                for _ in range(clients):
                    client = listen.connect()
                    if how == "closes its write half":
                        client.shutdown(socket.SHUT_WR)
                        with contextlib.suppress(OSError):
                            client.recv(1)
                        client.close()
                    elif how == "closes":
                        client.close()
                    else:
                        reset(client)
                # Clients that were reset before they were accepted need not be recorded.
                with contextlib.suppress(TimeoutError):
                    wait_until(
                        lambda: len(sluice.log.since(0, "access", "end")) == clients, 5, "records"
                    )
                read = sluice.metrics()
                ejections = read("sluice_endpoint_ejections_total")
                attempts = [
                    int(line.pairs["attempts"]) for line in sluice.log.since(0, "access", "end")
                ]
            accepted = [endpoint.accepted for endpoint in endpoints]
            report.check(
                f"{clients} clients, each {how}: one attempt each, nobody ejected",
                max(attempts, default=0) <= 1 and sum(accepted) <= clients and ejections == 0,
                f"attempts {dict(Counter(attempts))}, {accepted} accepted, "
                f"{ejections:.0f} ejections",
            )


def case_10(report: Report) -> None:
    """The kernel drops the connection request until after the endpoint's check has failed."""
    with Spots() as spots:
        listen, target = spots.new(), spots.new()
        server = target.listen(backlog=0)
        checked = Endpoint(spots.new(), lambda end: None)
        port = checked.spot.text.rpartition(":")[2]
        more = {
            "connect": "8s",
            "attempt": "8s",
            "on_down": "close",
            "check": f"{{tcp: {{}}, every: 100ms, timeout: 1s, rise: 1, fall: 1, port: {port}}}",
        }
        until = threading.Event()
        with server, proxy(listen, target, upstream=more) as sluice:
            with checked, crowded(server, target):
                client = listen.connect()
                client.sendall(b"ping")

                def is_connecting() -> bool:
                    return sluice.metrics()("sluice_connect_attempts_total") > 0

                wait_until(is_connecting, 5, "the attempt")
                checked.__exit__()

                def is_down() -> bool:
                    return sluice.metrics()("sluice_endpoint_up") == 0

                wait_until(is_down, 5, "the verdict")
            thread = threading.Thread(target=serve, args=(server, until), daemon=True)
            thread.start()
            reader = Reader(client, seconds=8)
            began = time.monotonic()
            reader.run()
            seconds = time.monotonic() - began
            client.close()
            until.set()
            thread.join(5)
    report.check(
        "the session is closed",
        reader.ending == "reset",
        f"{reader.received} B, {reader.ending} after {seconds:.1f} s",
    )


SESSIONS = 120
WINDOW_SECONDS = 10.0


def touched(sluice: Sluice, dead: Spot) -> int:
    """How many attempts to connect have gone there."""
    return int(sluice.metrics()("sluice_connect_attempts_total", endpoint=dead.text))


def dead_endpoint(report: Report, name: str, upstream: dict[str, str], black_hole: bool) -> None:
    """Two endpoints in turn, of which one is dead and nobody checks: sessions find out."""
    with Spots() as spots, contextlib.ExitStack() as stack:
        listen, dead = spots.new(), spots.new()
        if black_hole:
            server = stack.enter_context(dead.listen(backlog=0))
            stack.enter_context(crowded(server, dead))
        alive = stack.enter_context(Endpoint(spots.new(), echo))
        with proxy(listen, dead, alive.spot, upstream=upstream) as sluice:
            began = time.monotonic()
            served = count = 0
            slow = 0
            for count in range(1, SESSIONS + 1):
                start = time.monotonic()
                served += ask(listen)
                slow += time.monotonic() - start > 1
                if time.monotonic() - began > WINDOW_SECONDS * 0.95:
                    break
                pause = began + count * 0.04 - time.monotonic()
                time.sleep(max(0.0, pause))
            attempts = touched(sluice, dead)
            seconds = time.monotonic() - began
    lost = count - served
    lost_max = 6 if "retry" in upstream else 0
    report.check(
        f"{name}: few of {SESSIONS} sessions meet the dead endpoint",
        attempts <= 6 and lost <= lost_max and count == SESSIONS,
        f"{attempts} attempts there, {lost} lost, {slow} took over 1 s; {count} in {seconds:.1f} s",
    )


def case_13_refused(report: Report) -> None:
    """Nobody listens there."""
    dead_endpoint(report, "refuses", {}, black_hole=False)


def case_13_black_hole(report: Report) -> None:
    """Connection requests are dropped there."""
    dead_endpoint(report, "drops requests", {}, black_hole=True)


def case_13_no_retry(report: Report) -> None:
    """No session gets a second attempt."""
    dead_endpoint(report, "refuses, retry: off", {"retry": "off"}, black_hole=False)


def case_13_off(report: Report) -> None:
    """`outlier: off` is still there."""
    with Spots() as spots, Endpoint(spots.new(), echo) as alive:
        listen, dead = spots.new(), spots.new()
        with proxy(listen, dead, alive.spot, upstream={"outlier": "off"}) as sluice:
            served = sum(ask(listen) for _ in range(40))
            attempts = touched(sluice, dead)
    report.check(
        "outlier: off: it stays in turn", attempts >= 15 and served == 40, f"{attempts} of 40 there"
    )
