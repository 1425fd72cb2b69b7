"""System calls: how many a proxy makes per message, per session and per gigabyte.

`strace -c -f` counts what a running proxy does under a load of one connection at a time, so that no
call serves two. It slows the proxy down a great deal: the counts are worth something, times are not
taken. Checks of endpoints are off, because under so slow a load their calls would be among its own.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cases.case import contenders
from bench.laboratory import Laboratory, Target
from bench.peers import usual
from lab import procfs
from lab.proxies import wait_until

# A line of strace's table: share, seconds, microseconds per call, calls, errors (or not), name.
_LINE = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$")


@dataclass(frozen=True)
class Counting:
    """A load, and the unit by which its calls are divided."""

    unit: str
    load: tuple[str, ...]
    server: str
    per: str
    scale: float = 1.0


COUNTINGS = (
    Counting(
        "per message and its echo (64 B)",
        ("pingpong", "--bytes", "64", "--connections", "1"),
        "echo",
        "operations",
    ),
    Counting(
        "per session (connect, 64 B and their echo, close)",
        ("connect", "--bytes", "64", "--concurrent", "1"),
        "echo",
        "operations",
    ),
    Counting(
        "per GB (download, 4 sessions)",
        ("bulk", "--direction", "down", "--sessions", "4"),
        "source",
        "bytes",
        1e9,
    ),
)


def unavailable() -> str | None:
    """Why it cannot be counted here, in words."""
    if shutil.which("strace") is None:
        return "strace is not there (scripts/install.sh bench)"
    tried = subprocess.run(
        ["strace", "-c", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False
    )
    return None if tried.returncode == 0 else f"strace may not trace: {tried.stderr.strip()}"


def counted(lab: Laboratory, kinds: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """By unit, then proxy: calls per unit, by name."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for counting in COUNTINGS:
        for contender in contenders(kinds):
            lab.progress(f"system calls {counting.unit}: {contender.name}")
            # Each as it is for the load: HAProxy splices for bulk only, nginx reads more at once.
            chosen = usual(contender, is_bulk=counting.per == "bytes")
            route = lab.route(lab.servers(counting.server))
            with lab.proxy(chosen, [route], check=None) as proxy:
                target = Target(proxy.pid, route.listen, proxy)
                calls = _traced(lab, target, counting)
            name = f"{chosen.name}, {chosen.label}" if chosen.label else chosen.name
            table.setdefault(counting.unit, {})[name] = calls
    return table


def parsed(text: str) -> dict[str, int]:
    """Calls by name, from strace's table."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        if (match := _LINE.match(line)) and match[2] != "total":
            found[match[2]] = found.get(match[2], 0) + int(match[1])
    return found


def _traced(lab: Laboratory, target: Target, counting: Counting) -> dict[str, float]:
    lab.run_load(counting.load, target.addresses, 0.2)
    output = lab.folder / "strace"
    pids = [word for pid in procfs.process_tree(target.pid) for word in ("--attach", str(pid))]
    command = ["strace", "-c", "-f", "--output", str(output), *pids]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _is_traced(target.pid), 10, "strace to attach")
        seconds = 0.5 if lab.is_quick else 1.5
        measured = lab.run_load(counting.load, target.addresses, seconds)
        time.sleep(0.1)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(timeout=30)
    units = measured[counting.per] / counting.scale
    text = Path(output).read_text(encoding="utf-8")
    return {name: count / units for name, count in parsed(text).items()}


def _is_traced(pid: int) -> bool:
    """Whether every thread of the process tree has a tracer."""
    for member in procfs.process_tree(pid):
        for status in Path(f"/proc/{member}/task").glob("*/status"):
            if "\nTracerPid:\t0\n" in status.read_text(encoding="utf-8", errors="replace"):
                return False
    return True


def lines(table: dict[str, dict[str, dict[str, float]]], least: float = 0.01) -> list[list[str]]:
    """Rows of a table for people: unit, proxy, sum, and each call that counts, the most first."""
    rows = []
    for unit, by_proxy in table.items():
        for name, calls in by_proxy.items():
            total = sum(calls.values())
            ordered = sorted(calls.items(), key=lambda item: -item[1])
            shown = [f"{call} {_count(each)}" for call, each in ordered if each >= least * total]
            rows.append([unit, name, _count(total), ", ".join(shown)])
    return rows


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
