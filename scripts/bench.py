#!/usr/bin/env python3
"""Measures what a proxy costs, beside HAProxy and nginx, in the same run on the same machine.

The proxy has one core, the load and its servers the other. Rounds alternate between the proxies,
their order rotates, and medians count: what disturbs the machine disturbs all of them alike. The
figure is the CPU time of the proxy process per operation, because that is what a proxy costs where
it runs; rates and latencies stand beside it. Each is configured as people run it for this job: with
its access log in a file and with timeouts (`--access-log off` switches all logs off). Exits with 1 when
a mark is missed.

Run as root it measures in a network namespace of its own, with the congestion control that Debian
ships, so that machines compare; `--network host` measures in the machine's own.

`floor` is no proxy: the echo server alone, its own CPU per operation doubled, since a proxy has
two sockets to serve where an echo server has one.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab import network, procfs, proxies
from lab.proxies import Proxy, Route, Settings, free_port, wait_until

HOSTS = tuple(f"127.0.0.{index}" for index in range(1, 9))
PACKAGE = proxies.ROOT / "Benchmarks"
FLOOR = "floor"


@dataclass(frozen=True)
class Case:
    """One kind of load, the unit of its cost, and the mark for the ratio to the better peer."""

    name: str
    load: tuple[str, ...]
    server: str
    unit: str
    mark: float
    # Closed connections keep their ports for a minute: rounds of connecting are short.
    seconds: float
    splice: bool = False

    def units(self, measured: dict[str, float]) -> float:
        """How many units of cost one run did."""
        return measured["bytes"] / 1e9 if self.unit == "s/GB" else measured["operations"]

    def cost(self, cpu_seconds: float, measured: dict[str, float]) -> float:
        """CPU per unit, in the unit of the case."""
        each = cpu_seconds / self.units(measured)
        return each if self.unit == "s/GB" else each * 1e6

    def rate(self, measured: dict[str, float]) -> str:
        """The speed as people read it."""
        per_second = self.units(measured) / measured["seconds"]
        return f"{per_second:.2f} GB/s" if self.unit == "s/GB" else f"{per_second:,.0f}/s"


CASES = (
    Case(
        "bulk down x4",
        ("bulk", "--direction", "down", "--sessions", "4"),
        "source",
        "s/GB",
        mark=0.6,
        seconds=3,
        # HAProxy splices for bulk only: for small messages splicing costs it more than copying.
        splice=True,
    ),
    Case(
        "bulk up x4",
        ("bulk", "--direction", "up", "--sessions", "4"),
        "sink",
        "s/GB",
        mark=0.6,
        seconds=3,
        splice=True,
    ),
    Case(
        "connect-64B-close x32",
        ("connect", "--bytes", "64", "--concurrent", "32"),
        "echo",
        "us/conn",
        mark=1.05,
        seconds=1.5,
    ),
    Case(
        "ping-pong 64B x32",
        ("pingpong", "--bytes", "64", "--connections", "32"),
        "echo",
        "us/op",
        mark=1.05,
        seconds=3,
    ),
)


@dataclass
class Series:
    """What the rounds of one proxy in one case gave."""

    costs: list[float] = field(default_factory=list)
    user_shares: list[float] = field(default_factory=list)
    busy_shares: list[float] = field(default_factory=list)
    measured: list[dict[str, float]] = field(default_factory=list)

    def middle(self, key: str) -> float:
        """The median of one measured figure."""
        return statistics.median(run.get(key, 0.0) for run in self.measured)

    def middle_run(self) -> dict[str, float]:
        """The median of every measured figure."""
        return {key: self.middle(key) for key in self.measured[0]}


class Bench:
    """The two cores, the load generator, and the servers that all runs share."""

    def __init__(self, load: Path, cores: Sequence[int], folder: Path) -> None:
        self.load, self.folder = load, folder
        self.proxy_core, self.load_core = cores[0], cores[1]
        self.endpoints: dict[str, list[str]] = {}

    @contextlib.contextmanager
    def server(self, kind: str, core: int) -> Iterator[tuple[int, list[str]]]:
        """A reference server on a core; yields its process id and addresses."""
        port = free_port()
        addresses = [f"{host}:{port}" for host in HOSTS]
        command = self._pinned(core, [kind, "--listen", ",".join(addresses)])
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: procfs.is_listening(port), 5, f"the {kind} server")
            yield process.pid, addresses
        finally:
            process.terminate()
            process.wait()

    def measure(
        self, case: Case, pid: int, addresses: list[str], seconds: float, series: Series
    ) -> None:
        """One run of the load, and what the process spent meanwhile."""
        before, split_before = procfs.cpu_seconds(pid), procfs.cpu_split(pid)
        command = [*case.load, "--to", ",".join(addresses), "--seconds", str(seconds)]
        output = subprocess.run(
            self._pinned(self.load_core, command),
            check=True,
            capture_output=True,
            text=True,
            timeout=seconds + 30,
        ).stdout
        measured = json.loads(output)
        self._settle(pid)
        spent = procfs.cpu_seconds(pid) - before
        user, system = (b - a for a, b in zip(split_before, procfs.cpu_split(pid)))
        series.costs.append(case.cost(spent, measured))
        series.user_shares.append(user / (user + system) if user + system else 0.0)
        series.busy_shares.append(spent / measured["seconds"])
        series.measured.append(measured)

    def settings(self, case: Case, kind: str, access_log: bool) -> Settings:
        """A route for the case; the log of each proxy is a file of its own."""
        port = free_port()
        listen = [f"{host}:{port}" for host in HOSTS]
        log = self.folder / f"{kind}-{port}.log" if access_log else None
        routes = [Route("main", listen, self.endpoints[case.server])]
        return Settings(routes, workers=1, access_log=log, splice=case.splice)

    def _pinned(self, core: int, arguments: list[str]) -> list[str]:
        return ["taskset", "--cpu-list", str(core), str(self.load), *arguments]

    @staticmethod
    def _settle(pid: int) -> None:
        """The last sessions are closed after the load has ended: their cost counts too."""
        deadline = time.monotonic() + 1
        before = procfs.cpu_seconds(pid)
        while time.monotonic() < deadline:
            time.sleep(0.03)
            after = procfs.cpu_seconds(pid)
            if after - before < 0.0005:
                return
            before = after


def run_case(
    bench: Bench, case: Case, kinds: list[str], rounds: int, seconds: float, access_log: bool
) -> dict[str, Series]:
    """All rounds of one case: every proxy runs throughout, one at a time has work."""
    series = {kind: Series() for kind in kinds}
    with contextlib.ExitStack() as stack:
        targets: dict[str, tuple[int, list[str]]] = {}
        for kind in kinds:
            settings = bench.settings(case, kind, access_log)
            proxy = stack.enter_context(Proxy(kind, settings, core=bench.proxy_core))
            targets[kind] = (proxy.pid, settings.routes[0].listen)
        if case.server == "echo":
            series[FLOOR] = Series()
            targets[FLOOR] = stack.enter_context(bench.server("echo", bench.proxy_core))
        names = list(targets)
        warm = Series()
        for name in names:
            bench.measure(case, *targets[name], 0.2, warm)
        for index in range(rounds):
            turn = index % len(names)
            for name in names[turn:] + names[:turn]:
                progress(f"{case.name}: round {index + 1} of {rounds}, {name}")
                bench.measure(case, *targets[name], seconds, series[name])
    if FLOOR in series:
        series[FLOOR].costs = [2 * cost for cost in series[FLOOR].costs]
    progress("")
    return series


def verdict(case: Case, series: dict[str, Series], subject: str) -> dict[str, object]:
    """The ratio of the subject to the better peer, round by round, against the mark."""
    peers = [name for name in series if name not in (subject, FLOOR)]
    if subject not in series or not peers:
        return {}
    best = min(peers, key=lambda name: statistics.median(series[name].costs))
    ratios = [own / peer for own, peer in zip(series[subject].costs, series[best].costs)]
    ratio = statistics.median(ratios)
    return {
        "better_peer": best,
        "ratio": ratio,
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "mark": case.mark,
        "holds": ratio <= case.mark,
    }


def print_case(case: Case, series: dict[str, Series], judged: dict[str, object]) -> None:
    """The case's part of the table."""
    print(f"\n{case.name}")
    for name, one in series.items():
        cost = statistics.median(one.costs)
        spread = f"{min(one.costs):.2f}-{max(one.costs):.2f}"
        line = f"  {name:<8} {cost:8.2f} {case.unit:<8} {spread:>15}"
        line += f"  {case.rate(one.middle_run()):>12}"
        if name == FLOOR:
            line += "  (an echo server's own cost x 2)"
        else:
            line += f"  core busy {statistics.median(one.busy_shares):4.0%}"
            line += f", user {statistics.median(one.user_shares):3.0%}"
        if one.middle("p99_us"):
            line += f"  p50 {one.middle('p50_us'):,.0f} us, p99 {one.middle('p99_us'):,.0f} us"
        print(line)
    if judged:
        print(
            f"  ratio to {judged['better_peer']}: {judged['ratio']:.2f} "
            f"({judged['ratio_min']:.2f}-{judged['ratio_max']:.2f}), "
            f"mark {case.mark:.2f}: {'PASS' if judged['holds'] else 'FAIL'}"
        )
    sys.stdout.flush()


def progress(text: str) -> None:
    """What is being measured, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def build_load() -> Path:
    """The load generator, built."""
    command = ["swift", "build", "--configuration", "release", "--package-path", str(PACKAGE)]
    subprocess.run([*command, "--quiet"], check=True)
    return PACKAGE / ".build/release/load"


def measure_picks() -> list[dict[str, object]]:
    """What choosing an endpoint costs, by policy, with few and with many endpoints."""
    command = ["swift", "build", "--configuration", "release", "--package-path", str(proxies.ROOT)]
    command += ["--static-swift-stdlib", "--product", "bench-picks", "--quiet"]
    subprocess.run(command, check=True)
    output = subprocess.run(
        [str(proxies.ROOT / ".build/release/bench-picks")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    results = [json.loads(line) for line in output.splitlines()]
    print("\npicks  [ns of CPU per pick, counted and given back]")
    by_policy: dict[str, dict[int, float]] = {}
    for result in results:
        by_policy.setdefault(result["policy"], {})[result["endpoints"]] = result["nanoseconds"]
    for policy, figures in by_policy.items():
        parts = (f"{figure:7.1f} with {count:,}" for count, figure in figures.items())
        print(f"  {policy:20} {', '.join(parts)}")
    return results


def present(kinds: list[str]) -> list[str]:
    """Those that are there; a missing one is said to be missing."""
    found = []
    for kind in kinds:
        if proxies.binary_of(kind) is None:
            print(f"{kind}: missing (make it, or scripts/install.sh bench); it is left out")
        else:
            found.append(kind)
    return found


def version_of(kind: str) -> str:
    """The first line of what a proxy says of its version."""
    binary = proxies.binary_of(kind)
    arguments = {"sluice": ["version"], "haproxy": ["-v"], "nginx": ["-v"]}[kind]
    answer = subprocess.run([str(binary), *arguments], capture_output=True, text=True, check=False)
    lines = (answer.stdout + answer.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"


def machine() -> dict[str, str]:
    """Where this was measured."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"cpu": model, "cores": str(os.cpu_count()), "kernel": platform.release()}


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    quick = os.environ.get("QUICK", "") not in ("", "0")
    parser.add_argument("--proxies", default=",".join(proxies.KINDS), metavar="KIND,...")
    parser.add_argument("--subject", default="sluice", help="whose ratio is judged")
    parser.add_argument("--rounds", type=int, default=3 if quick else 5)
    parser.add_argument("--seconds", type=float, default=1.0 if quick else None, help="per run")
    parser.add_argument("--access-log", choices=("on", "off"), default="on")
    parser.add_argument("--network", choices=("own", "host"), default="own")
    parser.add_argument("--case", action="append", help="only cases whose name begins so")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures, also of each round")
    arguments = parser.parse_args()
    arguments.proxies = arguments.proxies.split(",")
    if unknown := set(arguments.proxies) - set(proxies.KINDS):
        parser.error(f"no such proxy: {', '.join(sorted(unknown))}")
    return arguments


def main() -> int:
    arguments = parsed_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started is ended
    proxies.raise_descriptor_limit()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("bench.py: needs two cores, one for the proxy and one for the load", file=sys.stderr)
        return 69
    if shutil.which("taskset") is None:
        print("bench.py: taskset (util-linux) is not there", file=sys.stderr)
        return 69
    kinds = present(arguments.proxies)
    if not kinds:
        return 69
    for kind in kinds:
        print(f"{kind}: {version_of(kind)}")
    results: list[dict[str, object]] = []
    chosen = [
        case
        for case in CASES
        if not arguments.case or any(case.name.startswith(name) for name in arguments.case)
    ]
    picks: list[dict[str, object]] = []
    if not arguments.case or any("picks".startswith(name) for name in arguments.case):
        picks = measure_picks()
    load = build_load()
    where = network.isolate() if arguments.network == "own" else network.congestion()
    print(f"network: {where}")
    # World-writable, because a proxy may give up root before it opens its log.
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name, contextlib.ExitStack() as on:
        Path(name).chmod(0o777)
        bench = Bench(load, cores, Path(name))
        for kind in ("echo", "source", "sink"):
            _, bench.endpoints[kind] = on.enter_context(bench.server(kind, bench.load_core))
        for case in chosen:
            seconds = min(arguments.seconds or case.seconds, case.seconds)
            series = run_case(
                bench, case, kinds, arguments.rounds, seconds, arguments.access_log == "on"
            )
            judged = verdict(case, series, arguments.subject)
            print_case(case, series, judged)
            rounds = {name: vars(one) for name, one in series.items()}
            results.append({"case": case.name, "unit": case.unit, **judged, "rounds": rounds})
    if arguments.json:
        document = {
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": {kind: version_of(kind) for kind in kinds},
            "network": where,
            "access_log": arguments.access_log,
            "cases": results,
            "picks": picks,
        }
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: {arguments.json}")
    return 0 if all(result.get("holds", True) for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
