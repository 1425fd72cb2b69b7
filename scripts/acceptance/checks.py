"""1,000 endpoints checked every 2 s, and 5,000 every second: no thread more, and little CPU beyond that of
the connections.

A check that only connects cannot cost less than a bare loop that connects and closes as often, and
that is a program of a few lines in C (lab/connect_close.c), which runs before and after the proxy,
on the same core, against the same server. Its share of a core is taken from the proxy's, and so is
that of the proxy without checks; what is left is what checking costs. Where checks are many, what counts
is how many times as much they cost as the bare loop.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness import Report, check_descriptors, settle
from lab import procfs
from lab.proxies import ROOT, free_port, wait_until
from lab.sluice import Sluice
from traffic import BACKLOG, process


@dataclass(frozen=True)
class Load:
    """So many endpoints, checked so often. One of both says what it may cost: a share of a core beyond
    that of the connections, or how many times as much as they."""

    endpoints: int
    every_seconds: int
    share_max: float | None = None
    ratio_max: float | None = None

    @property
    def per_second(self) -> int:
        """How many checks a second there are."""
        return self.endpoints // self.every_seconds

    @property
    def hosts(self) -> list[str]:
        """Their addresses, as the bare loop has them."""
        return [f"127.1.{index // 250}.{index % 250 + 1}" for index in range(self.endpoints)]


LOADS = (Load(1_000, 2, share_max=0.03), Load(5_000, 1, ratio_max=1.3))
BARE_SECONDS = 5
IDLE_SECONDS = 3.0
CHECKED_SECONDS = 10.0
SOURCE = ROOT / "scripts/lab/connect_close.c"


def accept_and_close(server: socket.socket, count: object) -> None:
    """Serves for ever: every connection is over at once, and counted."""
    server.settimeout(None)
    while True:
        with contextlib.suppress(OSError):
            end, _ = server.accept()
            end.close()
            count.value += 1  # type: ignore[attr-defined]


def configuration(load: Load, port: int, check: str) -> str:
    """All endpoints in one upstream."""
    lines = ["workers: 1", "log: {access: off}", "routes:"]
    lines.append(f'  main: {{listen: "127.0.0.1:{free_port()}", to: many}}')
    lines += ["upstreams:", "  many:"]
    if check:
        lines.append(f"    check: {check}")
    lines.append("    endpoints:")
    lines += [f'      - "{host}:{port}"' for host in load.hosts]
    return "\n".join(lines) + "\n"


def compiled(folder: Path) -> Path:
    """The bare loop, compiled; the Swift toolchain brings a C compiler where there is no other."""
    compiler = shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc, clang) here")
    binary = folder / "connect_close"
    subprocess.run([compiler, "-O2", "-Wall", "-o", str(binary), str(SOURCE)], check=True)
    return binary


def bare_share(
    report: Report, load: Load, binary: Path, port: int, core: int | None
) -> float:
    """The share of a core that connecting and closing takes."""
    command = [str(binary), str(port), str(load.endpoints), str(load.per_second)]
    command.append(str(BARE_SECONDS))
    if core is not None:
        command = ["taskset", "--cpu-list", str(core), *command]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    seconds, failures = done.stdout.split()
    if failures != "0":
        report.note(f"{failures} connects of the bare loop failed")
    return float(seconds) / BARE_SECONDS


def share(proxy: Sluice, seconds: float) -> float:
    """The share of a core that the proxy takes from now on."""
    before, start = procfs.cpu_seconds(proxy.pid), time.monotonic()
    time.sleep(seconds)
    return (procfs.cpu_seconds(proxy.pid) - before) / (time.monotonic() - start)


def threads(proxy: Sluice) -> list[str]:
    """The names of the proxy's threads."""
    names = (name.rpartition("/")[0] for name in procfs.thread_cpu_seconds(proxy.pid))
    return sorted(names)


def run(report: Report, kind: str) -> None:
    """Each load, against a server of its own."""
    if kind != "sluice":
        report.note("only Sluice is asked for this")
        return
    cores = os.sched_getaffinity(0)
    core = min(cores) if len(cores) > 1 else None
    try:
        if core is not None:
            os.sched_setaffinity(0, cores - {core})
        with tempfile.TemporaryDirectory() as folder:
            binary = compiled(Path(folder))
            for load in LOADS:
                measure(report, load, binary, core)
    finally:
        os.sched_setaffinity(0, cores)


def measure(report: Report, load: Load, binary: Path, core: int | None) -> None:
    """Without checks, then with them, between two runs of the bare loop."""
    count = multiprocessing.get_context("fork").Value("q", 0, lock=False)
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("", 0))
    server.listen(BACKLOG)
    port = server.getsockname()[1]
    with process(accept_and_close, server, count):
        server.close()
        bare = [bare_share(report, load, binary, port, core)]
        with Sluice(configuration(load, port, ""), core=core) as proxy:
            settle(proxy)
            proxy.metrics()  # who asks for them has a thread of its own, from the first time on
            idle, before = share(proxy, IDLE_SECONDS), threads(proxy)
        check = f"{{tcp: {{}}, every: {load.every_seconds}s}}"
        with Sluice(configuration(load, port, check), core=core) as proxy:
            start = count.value
            wait_until(
                lambda: count.value - start > 2 * load.endpoints, 20, "two rounds of checks"
            )
            descriptors = procfs.descriptors(proxy.pid)
            done, start, begun = checks_done(proxy), count.value, time.monotonic()
            checked = share(proxy, CHECKED_SECONDS)
            elapsed = time.monotonic() - begun
            rates = (count.value - start) / elapsed, (checks_done(proxy) - done) / elapsed
            judge(report, load, proxy, rates, before)
            check_descriptors(report, proxy, descriptors, kept=load.per_second // 30)
        bare.append(bare_share(report, load, binary, port, core))
    floor = sum(bare) / len(bare)
    figures = (
        f"{checked:.2%} of a core with checks, {idle:.2%} without, "
        f"{' and '.join(f'{one:.2%}' for one in bare)} for a bare loop"
    )
    if load.share_max is not None:
        extra = checked - idle - floor
        report.check(
            "CPU of checking, beyond that of the connections",
            extra < load.share_max,
            f"{extra:.2%} of a core: {figures}",
        )
    if load.ratio_max is not None:
        ratio = (checked - idle) / floor
        report.check(
            "CPU of checking, beside that of the connections",
            ratio <= load.ratio_max,
            f"{ratio:.2f} times as much: {figures}",
        )


def checks_done(proxy: Sluice) -> float:
    """How many checks have succeeded."""
    return proxy.metrics()("sluice_endpoint_checks_total", result="ok")


def judge(
    report: Report, load: Load, proxy: Sluice, rates: tuple[float, float], before: list[str]
) -> None:
    """That checks happen at all, and that nothing was needed for them."""
    report.check(
        f"{load.endpoints} endpoints are checked every {load.every_seconds} s",
        all(0.85 * load.per_second < rate < 1.15 * load.per_second for rate in rates),
        f"{rates[0]:.0f} connections a second, {rates[1]:.0f} checks in the metrics",
    )
    down = proxy.log.since(0, "warning", "endpoint is down")
    report.check("all of them are well", not down, f"{len(down)} lines say 'endpoint is down'")
    now = threads(proxy)
    report.check(
        "no thread more",
        now == before,
        f"{len(before)} without checks, {len(now)} with them ({', '.join(sorted(set(now)))})",
    )
