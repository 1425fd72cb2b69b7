"""An access log whose reader stops, or whose disk is full: nobody waits, every loss is told.

Two proxies, one of which can write its log and one that cannot, take turns, and the medians of
their rounds are compared: sessions that connect and close, each of which has a record, and
ping-pong. In the end every session is accounted for: its record was written, or is in a count of
lost ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import Address, Report, check_no_cpu, median, settle, text
from lab import procfs
from lab.proxies import free_port, wait_until
from lab.sluice import Line, Log, Sluice, private_mounts
from traffic import connect, echo, endpoint, ping, ping_once

ROUNDS = 5
ROUND_SECONDS = 0.35
SPEED_SHARE_MIN = 0.9
# What one kernel buffer, one batch and the queue hold, and several times that.
FILLING_SESSIONS = 3_000
RELOADS = 5
UNREAD_RELOADS = 200
RELOAD_SECONDS_MAX = 0.5
PIPE_BYTES = 4_096
DISK_BYTES = 64 * 1024
# The program tells of losses every ten seconds at most.
SAID_WITHIN_SECONDS = 12
LOST = "access records were lost"
RECORD = re.compile(rb"^\S+Z access end route=main .* phase=[a-z_]+$")


def configuration(address: Address, to: Address, access: str) -> str:
    """One route, few lines of patience."""
    return f"""\
workers: 1
log: {{access: "{access}", queue: 256}}
routes:
  main: {{listen: "{text(address)}", to: "{text(to)}"}}
"""


class Clients:
    """Sessions with one proxy, counted."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.sessions = 0

    def open_and_close(self) -> None:
        """One whole session."""
        with connect(self.address) as client:
            if not ping(client):
                raise ConnectionError("the echo did not come back")
        self.sessions += 1

    def connect_rate(self) -> float:
        """Whole sessions per second, one after the other."""
        before, start = self.sessions, time.monotonic()
        while (elapsed := time.monotonic() - start) < ROUND_SECONDS:
            self.open_and_close()
        return (self.sessions - before) / elapsed

    def ping_rate(self) -> float:
        """Messages of 64 B per second on one session."""
        message = b"p" * 64
        with connect(self.address) as client:
            count, start = 0, time.monotonic()
            while (elapsed := time.monotonic() - start) < ROUND_SECONDS:
                ping(client, message)
                count += 1
        self.sessions += 1
        return count / elapsed


def compare(report: Report, what: str, healthy: Clients, stalled: Clients) -> None:
    """Alternating rounds; the second must keep the first one's speed."""
    kinds: dict[str, Callable[[Clients], float]] = {
        "sessions": Clients.connect_rate,
        "ping-pong": Clients.ping_rate,
    }
    for name, rate in kinds.items():
        alone: list[float] = []
        beside: list[float] = []
        for _ in range(ROUNDS):
            alone.append(rate(healthy))
            beside.append(rate(stalled))
        share = median(beside) / median(alone)
        report.check(
            f"{what}: speed, {name}",
            share >= SPEED_SHARE_MIN,
            f"{median(beside) / 1e3:.2f} thousand/s, {median(alone) / 1e3:.2f} with a log that is "
            f"written ({share:.2f})",
        )


def lost_lines(log: Log) -> list[Line]:
    """The warnings that tell how many records were lost."""
    return log.since(0, "warning", LOST)


def said(report: Report, what: str, log: Log, cause: str) -> None:
    """While the trouble lasts: a warning with a count and a cause."""
    try:
        line = log.wait_for(0, "warning", LOST, SAID_WITHIN_SECONDS)
    except TimeoutError as error:
        report.check(f"{what}: said while it lasts", False, str(error))
        return
    report.check(
        f"{what}: said while it lasts",
        int(line.pairs.get("count", 0)) > 0 and cause in line.pairs.get("cause", ""),
        f"count={line.pairs.get('count')} cause={line.pairs.get('cause')!r}",
    )


def accounted(
    report: Report, what: str, proxy: Sluice, sessions: int, written: Callable[[], int]
) -> None:
    """Every session's record was written, or is in a count."""
    log = proxy.log

    def lost() -> int:
        return sum(int(line.pairs["count"]) for line in lost_lines(log))

    with contextlib.suppress(TimeoutError):
        wait_until(
            lambda: written() + lost() >= sessions, SAID_WITHIN_SECONDS, "all to be accounted for"
        )
    metric = int(proxy.metrics()("sluice_log_dropped_total", log="access"))
    report.check(
        f"{what}: every session is in the log or counted as lost",
        written() + lost() == sessions and metric == lost() > 0,
        f"{written()} written and {lost()} lost of {sessions}, told in {len(lost_lines(log))} "
        f"warnings, {metric} in the metrics",
    )


def records_in(data: bytes) -> int:
    """How many whole records are in what was written; a line that was cut is none."""
    return sum(bool(RECORD.match(line)) for line in data.split(b"\n"))


def stopped_reader(report: Report, healthy: Clients, to: Address, core: int | None) -> None:
    """Standard output is a pipe that nobody reads, and later somebody does."""
    what = "a reader that has stopped"
    address = ("127.0.0.1", free_port())
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(reading, False)
    received = bytearray()

    def written() -> int:
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(reading, 65_536):
                received.extend(chunk)
        return records_in(bytes(received))

    try:
        file_text = configuration(address, to, "stdout")
        with Sluice(file_text, core=core, stdout=writing) as proxy:
            clients = Clients(address)
            for _ in range(FILLING_SESSIONS):
                clients.open_and_close()
            compare(report, what, healthy, clients)
            said(report, what, proxy.log, "")
            settle(proxy)
            reloads(report, what, proxy, address, to)
            check_no_cpu(report, f"{what}: CPU when nothing happens", proxy, seconds=1.5)
            accounted(report, what, proxy, clients.sessions, written)
    finally:
        os.close(reading)
        os.close(writing)


def stopped_shipper(report: Report, healthy: Clients, to: Address, core: int | None) -> None:
    """Both logs go to one process, as those of a container do, and that is stopped for a while."""
    what = "a reader of both logs that has stopped"
    address = ("127.0.0.1", free_port())
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-log-")))
        path = folder / "log"
        file = stack.enter_context(open(path, "wb"))
        shipper = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
        stack.callback(shipper.wait)
        stack.callback(shipper.send_signal, signal.SIGCONT)
        assert shipper.stdin is not None
        pipe = stack.enter_context(shipper.stdin).fileno()
        file_text = configuration(address, to, "stdout")
        proxy = stack.enter_context(
            Sluice(file_text, core=core, stdout=pipe, stderr=pipe, log_path=path)
        )
        clients = Clients(address)
        shipper.send_signal(signal.SIGSTOP)
        for _ in range(FILLING_SESSIONS):
            clients.open_and_close()
        compare(report, what, healthy, clients)
        count = int(proxy.metrics()("sluice_log_dropped_total", log="access"))
        report.check(f"{what}: the metrics tell", count > 0, f"{count} lost so far")
        for _ in range(UNREAD_RELOADS):
            proxy.process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        settle(proxy)
        check_no_cpu(report, f"{what}: CPU when nothing happens", proxy, seconds=1.5)
        shipper.send_signal(signal.SIGCONT)

        def written() -> int:
            return len(proxy.log.since(0, "access", "end"))

        def lost(log: str) -> int:
            return int(proxy.metrics()("sluice_log_dropped_total", log=log))

        def told() -> int:
            lines = proxy.log.since(0, "warning", "lines of this log were lost")
            return sum(int(line.pairs["count"]) for line in lines)

        with contextlib.suppress(TimeoutError):
            wait_until(
                lambda: written() + lost("access") >= clients.sessions and told() >= lost("event"),
                SAID_WITHIN_SECONDS,
                "all to be accounted for",
            )
        # Of what was lost of the access log the other one may have lost a line.
        report.check(
            f"{what}: every session is in the log or counted as lost",
            written() + lost("access") == clients.sessions,
            f"{written()} written and {lost('access')} lost of {clients.sessions}",
        )
        report.check(
            f"{what}: what the other log has lost is told when it goes on",
            lost("event") == told(),
            f"{told()} lines told of {lost('event')}",
        )


def reloads(report: Report, what: str, proxy: Sluice, address: Address, to: Address) -> None:
    """The configuration is taken up all the same: another route, whose sessions are not logged."""
    start = time.monotonic()
    for _ in range(RELOADS):
        other = ("127.0.0.1", free_port())
        route = f'  other: {{listen: "{text(other)}", to: "{text(to)}", log: {{access: off}}}}\n'
        proxy.reload(configuration(address, to, "stdout") + route)
        served = ping_once(other)
    seconds = (time.monotonic() - start) / RELOADS
    report.check(
        f"{what}: {RELOADS} reloads take effect",
        served and seconds < RELOAD_SECONDS_MAX,
        f"{seconds * 1e3:.0f} ms each",
    )


def small_disk(where: Path) -> tuple[str, ...]:
    """A prefix that gives a command a file system of its own at that place, with little room."""
    script = f'mount -t tmpfs -o size={DISK_BYTES} small "$0" && exec "$@"'
    return (*private_mounts(), "sh", "-c", script, str(where))


def full_disk(report: Report, healthy: Clients, to: Address, core: int | None) -> None:
    """The log's file system is full, and later has room again."""
    what = "a full disk"
    address = ("127.0.0.1", free_port())
    with tempfile.TemporaryDirectory(prefix="sluice-disk-") as folder:
        path = Path(folder) / "access.log"
        file_text = configuration(address, to, str(path))
        with Sluice(file_text, core=core, prefix=small_disk(Path(folder))) as proxy:
            # Seen from outside of the mounts that only the proxy has.
            file = Path(f"/proc/{proxy.pid}/root{path}")
            clients = Clients(address)
            for _ in range(FILLING_SESSIONS):
                clients.open_and_close()
            settle(proxy)
            report.note(f"{file.stat().st_size} B of {DISK_BYTES} written")
            compare(report, what, healthy, clients)
            said(report, what, proxy.log, "No space left on device")
            settle(proxy)
            before = file.read_bytes()
            os.truncate(file, 0)
            for _ in range(100):
                clients.open_and_close()
            accounted(
                report,
                what,
                proxy,
                clients.sessions,
                lambda: records_in(before) + records_in(file.read_bytes()),
            )
            report.check(
                f"{what}: records are written again when there is room",
                records_in(file.read_bytes()) >= 100,
                f"{records_in(file.read_bytes())} of the last 100",
            )


def run(report: Report, kind: str) -> None:
    """The proxies have a core of their own where there are two, and take turns on it."""
    if kind != "sluice":
        report.note("only Sluice is asked for this")
        return
    cores = os.sched_getaffinity(0)
    core = min(cores) if len(cores) > 1 else None
    try:
        if core is not None:
            os.sched_setaffinity(0, cores - {core})
        with endpoint(echo) as [to]:
            address = ("127.0.0.1", free_port())
            with Sluice(configuration(address, to, "stdout"), core=core) as proxy:
                healthy = Clients(address)
                stopped_reader(report, healthy, to, core)
                stopped_shipper(report, healthy, to, core)
                full_disk(report, healthy, to, core)

                def records() -> int:
                    return len(proxy.log.since(0, "access", "end"))

                with contextlib.suppress(TimeoutError):
                    wait_until(lambda: records() >= healthy.sessions, 5, "the last records")
                report.check(
                    "a log that is written loses nothing",
                    records() == healthy.sessions and not lost_lines(proxy.log),
                    f"{records()} records of {healthy.sessions} sessions",
                )
    finally:
        os.sched_setaffinity(0, cores)
