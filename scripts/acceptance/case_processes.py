"""Runs cases at the same time, each in a process of its own, and reports what they found.

Most of a case's time is waiting. A process each, not a thread: cases change their network
namespace, stop what they started, and measure times that other threads would disturb.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait

from harness import Report

from lab.proxies import share_ports

_fork = multiprocessing.get_context("fork")


class Findings(Report):
    """Keeps findings instead of printing them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, bool | None, str]] = []

    def check(self, what: str, holds: bool, figure: str) -> None:
        """One expectation, whether it held, and the figure by which that was judged."""
        self.found.append((what, holds, figure))

    def note(self, text: str) -> None:
        """A figure that is told but not judged."""
        self.found.append(("", None, text))


@dataclass(frozen=True)
class Case:
    """A name, and what is run. `is_long` cases run beside all others, `alone` ones one by one."""

    name: str
    run: Callable[[Report], None]
    is_long: bool = False
    alone: bool = False


@dataclass
class Running:
    """A case and the process that runs it."""

    case: Case
    ports: tuple[int, int]
    process: multiprocessing.Process = field(init=False)
    wire: Connection = field(init=False)
    began: float = field(default_factory=time.monotonic)

    def start(self) -> Running:
        """Starts the process."""
        self.wire, theirs = _fork.Pipe(duplex=False)
        self.process = _fork.Process(target=_child, args=(self.case, self.ports, theirs))  # type: ignore
        self.process.start()
        theirs.close()
        return self

    def collect(self, report: Report) -> None:
        """Reports the findings of a process that has sent them, or has ended without."""
        try:
            found = self.wire.recv()
        except EOFError:
            found = [(self.case.name, False, "its process ended without a finding")]
        self.process.join()
        self.wire.close()
        for what, holds, figure in found:
            if holds is None:
                report.note(f"{self.case.name}: {figure}")
            else:
                report.check(f"{self.case.name}: {what}", holds, figure)

    def end(self) -> None:
        """Ends a process that is still at work; it ends what it has started."""
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(30)


def _child(case: Case, ports: tuple[int, int], wire: Connection) -> None:
    def ended(_signal: int, _frame: object) -> None:
        sys.exit(1)  # an exception, so that contexts are left

    signal.signal(signal.SIGTERM, ended)
    share_ports(*ports)
    findings = Findings()
    try:
        case.run(findings)
    except Exception as error:
        findings.check("runs", False, f"{type(error).__name__}: {error}")
        if not isinstance(error, OSError):
            traceback.print_exc()
    wire.send(findings.found)


def run_cases(report: Report, cases: Sequence[Case]) -> None:
    """All that may run together first, then, beside the long ones, one after the other the rest."""
    shares = {case.name: (index, len(cases)) for index, case in enumerate(cases)}
    running = [Running(case, shares[case.name]).start() for case in cases if not case.alone]
    try:
        _collect(report, running, lambda: any(not left.case.is_long for left in running))
        for case in cases:
            if case.alone:
                running.append(Running(case, shares[case.name]).start())
                _collect(report, running, lambda: any(left.case.alone for left in running))
        _collect(report, running, lambda: bool(running))
    finally:
        for left in running:
            left.end()


def _collect(report: Report, running: list[Running], is_needed: Callable[[], bool]) -> None:
    while is_needed():
        ready = wait([left.wire for left in running])
        for left in [left for left in running if left.wire in ready]:
            left.collect(report)
            running.remove(left)
