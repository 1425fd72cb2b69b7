#!/usr/bin/env python3
"""Measures what a stream of the event loop costs, beside asyncio's and uvloop's, in the same run.

Three echo servers that are written alike (read some, write, drain): Examples/EchoServer, and
scripts/lab/echo_streams.py on asyncio's own loop and on uvloop's. Each runs throughout, on one core;
one at a time has work, from the other core. Rounds alternate, their order rotates, and medians count.
The figure is the CPU time of the server's process per message that came back. `floor` is an echo
server in the load generator that is nothing but epoll, recv and send. Exits with 1 when ours costs more
than the mark allows; docs/performance.md says how such a ratio is judged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import venv
from pathlib import Path

from bench.statistics import median_interval, paired_ratios
from lab import network, procfs, proxies
from lab.proxies import free_port, wait_until

ROOT = proxies.ROOT
BENCHMARKS = ROOT / "Benchmarks"
SERVER = ROOT / ".build/release/example-echo-server"
ECHO = ROOT / "scripts/lab/echo_streams.py"
UVLOOP = "0.22.1"
MARK = 0.70
OURS, ASYNCIO, PEER, FLOOR = "EventLoop", "asyncio", "uvloop", "floor"


def python_with_uvloop() -> Path:
    """An interpreter that has uvloop, in a folder that is made once."""
    folder = ROOT / ".build-bench" / f"uvloop-{UVLOOP}"
    python = folder / "bin/python"
    if not python.exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, f"uvloop=={UVLOOP}"], check=True)
    return python


def build() -> Path:
    """The echo server and the load generator, built; returns the latter."""
    swift = ["swift", "build", "--configuration", "release", "--quiet"]
    subprocess.run([*swift, "--product", SERVER.name], cwd=ROOT, check=True)
    subprocess.run([*swift, "--package-path", str(BENCHMARKS)], check=True)
    return BENCHMARKS / ".build/release/load"


@contextlib.contextmanager
def running(command: list[str], port: int, core: int):
    """A server on a core; yields its process id."""
    pinned = ["taskset", "--cpu-list", str(core), *command]
    process = subprocess.Popen(pinned, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: procfs.is_listening(port), 10, command[0])
        yield process.pid
    finally:
        process.terminate()
        process.wait()


class Bench:
    """The load, its core, and what each server has cost so far."""

    def __init__(self, load: Path, core: int, arguments: argparse.Namespace) -> None:
        self.load, self.core = load, core
        self.arguments = arguments
        self.costs: dict[str, list[float]] = {}
        self.rates: dict[str, list[float]] = {}

    def measure(self, name: str, pid: int, port: int, seconds: float) -> None:
        """One run of the load against one server."""
        command = ["taskset", "--cpu-list", str(self.core), str(self.load), "pingpong"]
        command += ["--bytes", str(self.arguments.bytes)]
        command += ["--connections", str(self.arguments.connections)]
        command += ["--to", f"127.0.0.1:{port}", "--seconds", str(seconds)]
        before = procfs.cpu_seconds(pid)
        answer = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=seconds + 60
        ).stdout
        spent = procfs.cpu_seconds(pid) - before
        measured = json.loads(answer)
        self.costs.setdefault(name, []).append(spent / measured["operations"] * 1e6)
        self.rates.setdefault(name, []).append(measured["operations"] / measured["seconds"])

    def report(self) -> bool:
        """Prints the table. Returns whether the mark holds."""
        for name, costs in self.costs.items():
            spread = f"{min(costs):.2f}-{max(costs):.2f}"
            rate = statistics.median(self.rates[name])
            print(
                f"  {name:<10} {statistics.median(costs):6.2f} us/op {spread:>15} {rate:>10,.0f}/s"
            )
        interval = median_interval(paired_ratios(self.costs[OURS], self.costs[PEER]))
        holds = interval.is_confident and interval.high <= MARK
        print(
            f"  ratio to {PEER}: {interval.median:.2f}, {interval.low:.2f}-{interval.high:.2f} with "
            f"{interval.coverage:.1%}, mark at most {MARK:.2f}: {'PASS' if holds else 'FAIL'}"
        )
        return holds


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    quick = os.environ.get("QUICK", "") not in ("", "0")
    parser.add_argument("--rounds", type=int, default=6 if quick else 9)
    parser.add_argument("--seconds", type=float, default=1.0 if quick else 3.0, help="per run")
    parser.add_argument("--bytes", type=int, default=1024, help="of a message")
    parser.add_argument("--connections", type=int, default=256)
    return parser.parse_args()


def main() -> int:
    arguments = parsed_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started is ended
    proxies.raise_descriptor_limit()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("bench-streams.py: needs two cores, for a server and for the load", file=sys.stderr)
        return 69
    if shutil.which("taskset") is None:
        print("bench-streams.py: taskset (util-linux) is not there", file=sys.stderr)
        return 69
    python, load = str(python_with_uvloop()), build()
    print(f"network: {network.isolate()}")
    print(f"echo {arguments.bytes} B x {arguments.connections} connections")
    ports = {name: free_port() for name in (OURS, ASYNCIO, PEER, FLOOR)}
    commands = {
        OURS: [str(SERVER), f"127.0.0.1:{ports[OURS]}"],
        ASYNCIO: [python, str(ECHO), "asyncio", str(ports[ASYNCIO])],
        PEER: [python, str(ECHO), "uvloop", str(ports[PEER])],
        FLOOR: [str(load), "echo", "--listen", f"127.0.0.1:{ports[FLOOR]}"],
    }
    with contextlib.ExitStack() as stack:
        pids = {
            name: stack.enter_context(running(command, ports[name], cores[0]))
            for name, command in commands.items()
        }
        warm = Bench(load, cores[1], arguments)
        for name, pid in pids.items():
            warm.measure(name, pid, ports[name], 0.3)
        bench = Bench(load, cores[1], arguments)
        names = list(pids)
        for index in range(arguments.rounds):
            turn = index % len(names)
            for name in names[turn:] + names[:turn]:
                bench.measure(name, pids[name], ports[name], arguments.seconds)
    return 0 if bench.report() else 1


if __name__ == "__main__":
    sys.exit(main())
