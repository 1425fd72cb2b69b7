#!/usr/bin/env python3
"""Instructions that Sluice executes in user space for a message, for a session and to read a file.

A count is no time: it is nearly the same on every machine, busy or not, so that it can guard against
regressions where nothing can be timed. The same fixed work is done every time, one thing after the
other, and counted by callgrind, or with `--with perf` by the processor where that is to be had. What
starting and stopping take is counted by itself and taken off.

Each bound is what was counted when it was written, and a tenth. Exit codes: 0 all below their bounds;
1 one is above; 69 something that is needed is not there.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lab import proxies  # noqa: E402
from lab.proxies import Proxy, Route, Settings, free_port  # noqa: E402

UNAVAILABLE = 69
PATIENCE_SECONDS = 60.0
MESSAGE = b"m" * 64
MESSAGES, SESSIONS = 2_000, 500
ROUTES, ENDPOINTS_EACH = 200, 10

Address = tuple[str, int]


@dataclass(frozen=True)
class Unit:
    """Something that is done so many times, and how many instructions it may take."""

    name: str
    count: int
    bound: int


MESSAGE_UNIT = Unit("a message of 64 B and its echo", MESSAGES, 3_400)
SESSION_UNIT = Unit("a session: connect, 64 B and their echo, close, access log", SESSIONS, 23_200)
ROUTE_UNIT = Unit("reading a route of ten endpoints (sluice check)", ROUTES, 171_000)


class Echo:
    """An echo server on a thread; one connection at a time is enough."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return  # closed: the end
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while data := connection.recv(65_536):
                    connection.sendall(data)


def connected(to: Address) -> socket.socket:
    """A connection that waits for a slow proxy, but not for ever."""
    client = socket.create_connection(to, timeout=PATIENCE_SECONDS)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def exchange(client: socket.socket) -> None:
    """A message there and its echo back."""
    client.sendall(MESSAGE)
    rest = len(MESSAGE)
    while rest:
        data = client.recv(rest)
        if not data:
            raise OSError("the proxy closed the connection in the middle of an echo")
        rest -= len(data)


def nothing(to: Address) -> None:
    """One session, so that everything that is made for the first one is there."""
    with closing(connected(to)) as client:
        exchange(client)


def messages(to: Address) -> None:
    """Many messages in that session."""
    with closing(connected(to)) as client:
        for _ in range(1 + MESSAGES):
            exchange(client)


def sessions(to: Address) -> None:
    """Many sessions of one message, each over before the next begins."""
    for _ in range(1 + SESSIONS):
        with closing(connected(to)) as client:
            exchange(client)
            client.shutdown(socket.SHUT_WR)
            if client.recv(1):
                raise OSError("the proxy sent more than an echo")


@dataclass(frozen=True)
class Counter:
    """What counts the instructions of a program from its start to its end."""

    name: str
    command: Callable[[Path], list[str]]
    pattern: str

    def unavailable(self) -> str | None:
        """Why it cannot count here."""
        program = self.command(Path("/dev/null"))[0]
        if shutil.which(program) is None:
            return f"{program} is not there (scripts/install.sh instructions)"
        with tempfile.TemporaryDirectory(prefix="sluice-count-") as folder:
            try:
                self.of(["/bin/true"], Path(folder) / "report")
            except (ValueError, subprocess.CalledProcessError):
                return f"{program} cannot count here"
        return None

    def of(self, program: Sequence[str], report: Path) -> int:
        """The instructions of a program that ends by itself."""
        command = [*self.command(report), *program]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self.read(report)

    def read(self, report: Path) -> int:
        """The sum that stands in a report."""
        text = report.read_text(encoding="utf-8", errors="replace") if report.exists() else ""
        if (match := re.search(self.pattern, text, re.MULTILINE)) is None:
            raise ValueError(f"{self.name} has counted nothing: {text[-500:]}")
        return int(match[1])


COUNTERS = (
    Counter(
        "callgrind",
        lambda report: [
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            f"--log-file={report}",
        ],
        r"Collected\s*:\s*(\d+)",
    ),
    Counter(
        "perf",
        lambda report: ["perf", "stat", "-x,", "-e", "instructions:u", "-o", str(report)],
        r"^(\d+),,instructions:u",
    ),
)


def stripped(program: Path, folder: Path) -> Path:
    """A copy without debug information: Debian's valgrind does not understand it (DWARF 5)."""
    copy = folder / "sluice"
    subprocess.run(["strip", "--strip-debug", "-o", str(copy), str(program)], check=True)
    return copy


def counted(
    counter: Counter, sluice: Path, work: Callable[[Address], None], to: str, folder: Path
) -> int:
    """All instructions of a proxy that is started, does that work, and is stopped."""
    report, log = folder / "report", folder / "access.log"
    report.unlink(missing_ok=True)
    program = folder / "counted"
    words = " ".join(counter.command(report))
    program.write_text(f'#!/bin/sh\nexec {words} {sluice} "$@"\n')
    program.chmod(0o755)
    port = free_port()
    settings = Settings([Route("main", [f"127.0.0.1:{port}"], [to])], access_log=log)
    with Proxy("sluice", settings, program=program) as proxy:
        work(("127.0.0.1", port))
        proxy.stop()
    return counter.read(report)


def counted_reading(counter: Counter, sluice: Path, routes: int, folder: Path) -> int:
    """All instructions of checking a file with so many routes."""
    lines = ["routes:"]
    for index in range(routes):
        endpoints = [f'"10.{index}.0.{number}:80"' for number in range(ENDPOINTS_EACH)]
        lines.append(f"  route-{index}:")
        lines.append(f'    listen: "127.0.0.1:{10_000 + index}"')
        lines.append(f"    to: [{', '.join(endpoints)}]")
    file = folder / "sluice.yaml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return counter.of([str(sluice), "check", "--config", str(file)], folder / "report")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [counter.name for counter in COUNTERS]
    parser.add_argument("--with", dest="counter", choices=names, default=names[0])
    arguments = parser.parse_args()
    counter = COUNTERS[names.index(arguments.counter)]
    if reason := counter.unavailable():
        print(f"instructions: {reason}", file=sys.stderr)
        return UNAVAILABLE
    built = proxies.binary_of("sluice")
    if built is None:
        print("instructions: sluice is not there (make release)", file=sys.stderr)
        return UNAVAILABLE
    echo = Echo()
    with tempfile.TemporaryDirectory(prefix="sluice-count-") as name:
        folder = Path(name)
        sluice = stripped(built, folder)

        def serving(work: Callable[[Address], None]) -> int:
            return counted(counter, sluice, work, echo.address, folder)

        def reading(routes: int) -> int:
            return counted_reading(counter, sluice, routes, folder)

        rest = serving(nothing)
        totals = {
            MESSAGE_UNIT: serving(messages) - rest,
            SESSION_UNIT: serving(sessions) - rest,
            ROUTE_UNIT: reading(1 + ROUTES) - reading(1),
        }
    above = 0
    print(f"instructions in user space, counted by {counter.name}")
    for unit, total in totals.items():
        each = total / unit.count
        is_above = each > unit.bound
        above += is_above
        verdict = f"MORE than {unit.bound:,}" if is_above else f"at most {unit.bound:,}"
        print(f"  {each:>12,.0f}  {verdict}: {unit.name}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
