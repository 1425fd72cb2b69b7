"""Cases of how sessions end: bytes that were accepted for a slow reader arrive (cases 1 to 6)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ends_proxy import Keys, end_record, proxy, stopped
from ends_sockets import (
    ORDERLY,
    RESET,
    SMALL_BUFFER_BYTES,
    Reader,
    Spots,
    no_delay,
    pattern,
    reset,
    wait_acknowledged,
)
from harness import Report

from lab.sluice import Sluice

MEGABYTE = 1_000_000
ANSWER_BYTES = 600_000
ANSWER_RATE = 200_000


@dataclass
class Pair:
    """A session: the side that sends, the side that reads, and the proxy between them."""

    sender: socket.socket
    reader: socket.socket
    sluice: Sluice
    is_download: bool

    def counted(self) -> int:
        """What the session's record says has reached the reader."""
        return int(end_record(self.sluice).pairs["down" if self.is_download else "up"])


@contextmanager
def pair(
    families: tuple[str, str], sends: str = "endpoint", route: Keys | None = None
) -> Iterator[Pair]:
    """A session through a proxy of its own. `families`: of the listener, of the endpoint. The side
    that reads has a small receive buffer."""
    with Spots() as spots:
        listen, target = spots.new(families[0]), spots.new(families[1])
        server = target.listen()
        server.settimeout(20)
        if sends == "client" and families[1] == "tcp":
            # Accepted connections inherit it.
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        with server, proxy(listen, target, route=route) as sluice:
            small = SMALL_BUFFER_BYTES if sends == "endpoint" else None
            client = listen.connect(small)
            endpoint, _ = server.accept()
            no_delay(endpoint)
            endpoint.settimeout(120)
            client.settimeout(120)
            with client, endpoint:
                if sends == "endpoint":
                    yield Pair(endpoint, client, sluice, is_download=True)
                else:
                    yield Pair(client, endpoint, sluice, is_download=False)


def sending(end: socket.socket, count: int, then: Callable[[], None]) -> threading.Thread:
    """Sends the pattern in a thread, and then does that."""

    def work() -> None:
        with suppress(OSError):  # the reader reports what is missing
            end.sendall(pattern(count))
            then()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def named(families: tuple[str, str], sends: str) -> str:
    """How a variant is called in the report."""
    receiver = "client" if sends == "endpoint" else "endpoint"
    kinds = {"client": families[0], "endpoint": families[1]}
    return f"{kinds[sends]} {sends} to {kinds[receiver]} {receiver}"


def slow_reader(
    report: Report, families: tuple[str, str], sends: str, size: int, rate: float, route: Keys
) -> None:
    """Sends and closes; the other side reads for far longer than any timeout, without a pause."""
    with pair(families, sends, route) as session:
        reader = Reader(session.reader, rate)
        reader.start()
        began = time.monotonic()
        sending(session.sender, size, session.sender.close)
        reader.finish(size / rate * 2 + 20)
        session.reader.close()
        seconds = time.monotonic() - began
        counted = session.counted()
    told = f"{size:,} B at {rate / 1e3:.0f} kB/s{''.join(f', {k}: {v}' for k, v in route.items())}"
    report.check(
        f"{named(families, sends)}: {told}",
        reader.has(size, ORDERLY),
        f"{reader.figure} after {seconds:.0f} s",
    )
    report.check(
        f"{named(families, sends)}: the record counts what arrived",
        counted == reader.received,
        f"{counted:,} in the record, {reader.received:,} received",
    )


def case_1_defaults(report: Report) -> None:
    """With every timeout at its default."""
    slow_reader(report, ("tcp", "tcp"), "endpoint", MEGABYTE, 13_000, {})


def case_1(report: Report) -> None:
    """Progress counts: half_close_timeout is a third of what the transfer takes."""
    for families, sends in (
        (("tcp", "tcp"), "endpoint"),
        (("tcp", "tcp"), "client"),
        (("unix", "unix"), "endpoint"),
    ):
        slow_reader(report, families, sends, 300_000, 20_000, {"half_close_timeout": "5s"})


def case_1_record(report: Report) -> None:
    """The reader resets before it has everything: the record claims no more than its kernel had."""
    with pair(("tcp", "tcp"), "endpoint") as session:
        sending(session.sender, ANSWER_BYTES, session.sender.close)
        reader = Reader(session.reader, 100_000, limit=50_000)
        reader.start()
        reader.finish(10)
        reset(session.reader)
        counted = session.counted()
    at_most = reader.received + 4 * SMALL_BUFFER_BYTES
    report.check(
        "the reader resets half way: the record counts what was acknowledged",
        reader.received <= counted <= at_most,
        f"{counted:,} in the record, {reader.received:,} read, {ANSWER_BYTES:,} sent",
    )


def case_2(report: Report) -> None:
    """An endless stream that is read without a pause is not idle; one that is not read is."""
    for families, sends in ((("tcp", "tcp"), "endpoint"), (("tcp", "tcp"), "client")):
        with pair(families, sends, {"idle": "3s"}) as session:
            sending(session.sender, 60 * MEGABYTE, lambda: None)
            reader = Reader(session.reader, 20_000, limit=200_000)
            reader.start()
            reader.finish(30)
            report.check(
                f"{named(families, sends)}, endless, read at 20 kB/s, idle: 3s",
                reader.has(200_000, "still open"),
                reader.figure,
            )
            # Nothing is read from here on: now the session is idle, and both sides are reset.
            if reader.ending == "still open":
                record = end_record(session.sluice, 12)
                report.check(
                    f"{named(families, sends)}: idle once nothing is read",
                    record.pairs["end"] == "idle",
                    f"end={record.pairs['end']}",
                )


def one_more_byte(report: Report, families: tuple[str, str], sends: str, how: str) -> None:
    """The side that has sent everything is closed; then the other one, still reading, sends."""
    with pair(families, sends) as session:
        reader = Reader(session.reader, ANSWER_RATE)
        if how == "at once":
            # The byte, the answer's last part and its end are all there when the proxy looks.
            session.sender.sendall(pattern(ANSWER_BYTES // 10))
            size = ANSWER_BYTES // 10
            with stopped(session.sluice):
                session.sender.close()
                with suppress(OSError):
                    session.reader.sendall(b"!")
            reader.start()
        else:
            size = ANSWER_BYTES
            sending(session.sender, size, lambda: None).join(20)
            reader.start()
            # A kernel whose side has closed answers a byte with a reset, and drops what is unsent.
            wait_acknowledged(session.sender)
            session.sender.close()
        for _ in range(1 if how == "one" else 10):
            time.sleep(0.1)
            try:
                session.reader.sendall(b"!")
            except OSError:
                break  # after the end it may fail; what counts is what is received
        reader.finish(20)
    report.check(
        f"{named(families, sends)}, more bytes: {how}",
        reader.has(size, ORDERLY),
        f"{reader.figure}, of {size:,} B",
    )


def case_3(report: Report) -> None:
    """On TCP, and in both directions."""
    for families, sends in ((("tcp", "tcp"), "endpoint"), (("tcp", "tcp"), "client")):
        for how in ("one", "continuously", "at once"):
            one_more_byte(report, families, sends, how)


def case_5(report: Report) -> None:
    """With unix sockets, whose errors differ from those of TCP."""
    for families, sends in (
        (("tcp", "unix"), "endpoint"),
        (("unix", "unix"), "endpoint"),
        (("unix", "tcp"), "client"),
        (("unix", "unix"), "client"),
    ):
        for how in ("one", "continuously", "at once"):
            one_more_byte(report, families, sends, how)


def case_4(report: Report) -> None:
    """Sends, waits until all is acknowledged, and resets. Unix sockets have no resets: closing one, also
    with unread input, loses nothing of what was written to it, so its stream is complete."""
    for families, sends in (
        (("tcp", "tcp"), "endpoint"),
        (("tcp", "tcp"), "client"),
        (("tcp", "unix"), "endpoint"),
        (("unix", "tcp"), "endpoint"),
    ):
        with pair(families, sends) as session:
            session.reader.sendall(b"unread")
            reader = Reader(session.reader, ANSWER_RATE)
            reader.start()
            session.sender.sendall(pattern(ANSWER_BYTES))
            wait_acknowledged(session.sender)
            reset(session.sender)
            reader.finish(30)
            counted = session.counted()
        endings = (RESET,) if families == ("tcp", "tcp") else (ORDERLY,)
        report.check(
            f"{named(families, sends)}, reset after {ANSWER_BYTES:,} B",
            reader.has(ANSWER_BYTES, *endings),
            reader.figure,
        )
        report.check(
            f"{named(families, sends)}: the record counts what arrived",
            counted == reader.received,
            f"{counted:,} in the record, {reader.received:,} received",
        )


LATE_SECONDS = 65.0


def case_6(report: Report) -> None:
    """A side that has finished sending waits for its answer, however late, with every default."""
    variants = [
        (families, sends)
        for families in (("tcp", "tcp"), ("unix", "unix"))
        for sends in ("endpoint", "client")
    ]
    readers: dict[int, tuple[Reader, float]] = {}

    def answer_late(number: int, families: tuple[str, str], sends: str) -> None:
        with pair(families, sends) as session:
            session.reader.sendall(b"a question")
            session.reader.shutdown(socket.SHUT_WR)
            reader = Reader(session.reader, seconds=LATE_SECONDS + 30)
            reader.start()
            while session.sender.recv(100):
                pass
            began = time.monotonic()
            reader.join(LATE_SECONDS)  # the case itself: the answer comes that late
            waited = time.monotonic() - began
            sending(session.sender, 100_000, session.sender.close)
            reader.finish(20)
            readers[number] = reader, waited

    threads = []
    for number, variant in enumerate(variants):
        thread = threading.Thread(target=answer_late, args=(number, *variant), daemon=True)
        thread.start()
        threads.append(thread)
    for number, (families, sends) in enumerate(variants):
        threads[number].join(LATE_SECONDS + 60)
        reader, waited = readers[number]  # KeyError: its thread has failed
        report.check(
            f"{named(families, sends)}: answers after {LATE_SECONDS:.0f} s",
            reader.has(100_000, ORDERLY),
            f"{reader.figure} ({waited:.0f} s)",
        )
