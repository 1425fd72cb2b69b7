"""The machine: its cores, load generator, reference servers, and proxies as people run them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from bench.peers import Contender
from bench.rounds import Disturbances, Meter, NotSettled
from lab import procfs, proxies
from lab.proxies import Proxy, Route, Settings, free_port, wait_until

PACKAGE = proxies.ROOT / "Benchmarks"
# Several addresses, so that the ports of connections that were closed lately do not run out.
HOSTS = tuple(f"127.0.0.{index}" for index in range(1, 9))
CHECK_EVERY = "2s"
# A run during which a hypervisor took more of the cores is repeated; so many runs at most.
STOLEN_SHARE_MAX = 0.05
ATTEMPTS_MAX = 3
# Numbers of users that no system gives to anybody.
FIRST_USER = 61_000


Outcome = TypeVar("Outcome")


class LoadFailed(Exception):
    """The load generator did not come to its end, so there is no figure."""


@dataclasses.dataclass(frozen=True)
class Cores:
    """Who runs where. With two cores the load and the servers share one."""

    all: tuple[int, ...]

    @property
    def proxy(self) -> int:
        """The core of a proxy with one worker."""
        return self.all[0]

    @property
    def load(self) -> int:
        """The core of the load generator."""
        return self.all[1]

    @property
    def servers(self) -> int:
        """The core of the reference servers."""
        return self.all[2] if len(self.all) > 2 else self.all[1]

    def of_workers(self, workers: int) -> str:
        """The cores of a proxy with several workers: nobody else's where there are enough."""
        if workers == 1:
            return str(self.proxy)
        own = (self.proxy, *self.all[3:])
        chosen = own if len(own) >= workers else self.all
        return ",".join(str(core) for core in chosen[:workers])

    @staticmethod
    def of_this_machine() -> Cores:
        """One of each pair of siblings first: two threads of one core take from each other."""
        allowed = sorted(os.sched_getaffinity(0))
        first, second, seen = [], [], set()
        for core in allowed:
            path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
            siblings = path.read_text(encoding="ascii").strip() if path.exists() else str(core)
            (second if siblings in seen else first).append(core)
            seen.add(siblings)
        return Cores(tuple(first + second))


@dataclasses.dataclass
class Target:
    """What a load goes to: addresses, and the process whose CPU counts."""

    pid: int
    addresses: list[str]
    proxy: Proxy | None = None


class Laboratory:
    """All that the cases share. Use it as a context: what it has started ends with it."""

    def __init__(
        self, load: Path, cores: Cores, *, is_quick: bool, access_log: bool, unprivileged: bool
    ) -> None:
        self.load, self.cores = load, cores
        self.is_quick, self.access_log, self.unprivileged = is_quick, access_log, unprivileged
        self.position = ""
        self.disturbances = Disturbances()
        self._users: dict[str, int] = {}
        self._programs: dict[str, Path] = {}
        self._servers: dict[str, list[str]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Laboratory:
        name = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-bench-"))
        self.folder = Path(name)
        # World-writable, because proxies without privileges open their logs here.
        self.folder.chmod(0o777)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._stack.close()

    def progress(self, text: str) -> None:
        """What is being measured, in one line, on a terminal only; no text takes the line away."""
        if sys.stderr.isatty():
            line = f"{self.position} {text}" if text else ""
            print(
                f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}", end="", file=sys.stderr
            )
            sys.stderr.flush()

    def duration(self, seconds: float) -> float:
        """How long a run is that has so many seconds when there is time."""
        return seconds / 2 if self.is_quick else seconds

    # What is measured against, and what is measured

    def servers(self, kind: str) -> list[str]:
        """Addresses of a reference server that runs until the end: echo, source, file-source,
        sink or both."""
        if kind not in self._servers:
            _, self._servers[kind] = self._stack.enter_context(
                self.server(kind, self.cores.servers)
            )
        return self._servers[kind]

    @contextlib.contextmanager
    def server(
        self, kind: str, core: int, options: Sequence[str] = (), hosts: Sequence[str] = HOSTS
    ) -> Iterator[tuple[int, list[str]]]:
        """A reference server on a core; yields its process id and addresses."""
        port = free_port()
        addresses = [f"{host}:{port}" for host in hosts]
        command = self.pinned(core, [kind, "--listen", ",".join(addresses), *options])
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: procfs.is_listening(port), 5, f"the {kind} server")
            yield process.pid, addresses
        finally:
            process.terminate()
            process.wait()

    @contextlib.contextmanager
    def proxy(
        self,
        contender: Contender,
        routes: Sequence[Route],
        *,
        workers: int = 1,
        wait: bool = True,
        **changes: object,
    ) -> Iterator[Proxy]:
        """The contender's proxy with these routes; its access log is a file of its own."""
        log = self.folder / f"{contender.kind}-{free_port()}.log" if self.access_log else None
        settings = Settings(list(routes), workers=workers, access_log=log, check=CHECK_EVERY)
        settings = dataclasses.replace(settings, **{**changes, **contender.changes})
        user = self._user(contender.kind)
        program = self._program(contender.kind, user)
        core = self.cores.of_workers(workers)
        proxy = Proxy(contender.kind, settings, core=core, wait=wait, user=user, program=program)
        try:
            with proxy:
                yield proxy
        finally:
            if log is not None:
                log.unlink(missing_ok=True)

    def route(self, to: Sequence[str], name: str = "main") -> Route:
        """A route to these endpoints, with an address on each host."""
        port = free_port()
        return Route(name, [f"{host}:{port}" for host in HOSTS], list(to))

    # Loads

    def pinned(self, core: int, arguments: Sequence[str]) -> list[str]:
        """A command of the load generator on a core."""
        return ["taskset", "--cpu-list", str(core), str(self.load), *arguments]

    def run_load(
        self, arguments: Sequence[str], addresses: Sequence[str], seconds: float
    ) -> dict[str, float]:
        """One run of the load generator, and what it measured."""
        command = [*arguments, "--to", ",".join(addresses), "--seconds", f"{seconds:g}"]
        answer = subprocess.run(
            self.pinned(self.cores.load, command),
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=False,
        )
        if answer.returncode != 0:
            raise LoadFailed(f"{' '.join(arguments)}: {answer.stderr.strip()}")
        return json.loads(answer.stdout)

    def figures(self, run: Callable[[], Outcome]) -> Outcome:
        """What a run says whose figures are told: `undisturbed`, and counted if it was not."""
        outcome, attempts, is_disturbed = self._attempted(run)
        self.disturbances.figures += 1
        self.disturbances.repeated += attempts - 1
        self.disturbances.kept += is_disturbed
        return outcome

    def undisturbed(self, run: Callable[[], Outcome]) -> Outcome:
        """What a run says; repeated when the machine was not ours meanwhile, whatever came out. The
        last attempt is kept in any case."""
        return self._attempted(run)[0]

    def _attempted(self, run: Callable[[], Outcome]) -> tuple[Outcome, int, bool]:
        """The outcome of the last attempt, how many there were, whether it was disturbed, too."""
        attempts = 0
        while True:
            began, stolen = time.monotonic(), procfs.stolen_seconds(self.cores.all)
            outcome = run()
            attempts += 1
            stolen = procfs.stolen_seconds(self.cores.all) - stolen
            is_disturbed = stolen > STOLEN_SHARE_MAX * len(self.cores.all) * (
                time.monotonic() - began
            )
            if not is_disturbed or attempts == ATTEMPTS_MAX:
                return outcome, attempts, is_disturbed

    def measure(
        self, target: Target, arguments: Sequence[str], seconds: float, *, settle: bool = True
    ) -> tuple[dict[str, float], tuple[float, float, float]]:
        """One run of the load, and what the target spent: seconds, of user and of system."""
        meter = Meter(target.pid)
        measured = self.run_load(arguments, target.addresses, seconds)
        try:
            return measured, meter.stop(settle)
        except NotSettled as error:
            raise LoadFailed(f"{' '.join(arguments)}: {error}") from error

    @contextlib.contextmanager
    def held(self, addresses: Sequence[str], sessions: int) -> Iterator[None]:
        """So many idle sessions, each complete, for as long as the context lasts."""
        command = ["hold", "--to", ",".join(addresses), "--sessions", str(sessions)]
        process = subprocess.Popen(
            self.pinned(self.cores.load, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            if not process.stdout.readline():
                raise LoadFailed(f"{sessions} idle sessions: {process.stderr.read().strip()}")
            yield
            _, error = process.communicate(timeout=60)
            if process.returncode != 0:
                raise LoadFailed(f"{sessions} idle sessions: {error.strip()}")
        finally:
            process.kill()
            process.communicate()

    @contextlib.contextmanager
    def in_background(
        self, arguments: Sequence[str], addresses: Sequence[str], seconds: float
    ) -> Iterator[list[dict[str, float]]]:
        """A load that has the rest of its core's time and nothing more (SCHED_IDLE), so that what
        is measured beside it is the proxy and not the crowd on the load's core. Yields a list that
        has its outcome once the context has ended."""
        command = [*arguments, "--to", ",".join(addresses), "--seconds", f"{seconds:g}"]
        process = subprocess.Popen(
            self.pinned(self.cores.load, command), stdout=subprocess.PIPE, text=True
        )
        outcome: list[dict[str, float]] = []
        try:
            yield_to_others(process.pid)
            time.sleep(0.1)
            yield outcome
            output, _ = process.communicate(timeout=seconds + 60)
            if process.returncode != 0:
                raise LoadFailed(" ".join(arguments))
            outcome.append(json.loads(output))
        finally:
            process.kill()
            process.communicate()

    # Users without privileges

    def _user(self, kind: str) -> int | None:
        if not self.unprivileged:
            return None
        return self._users.setdefault(kind, FIRST_USER + len(self._users))

    def _program(self, kind: str, user: int | None) -> Path | None:
        """The program, or a copy where its user may not reach it (a checkout below /root)."""
        program = proxies.binary_of(kind)
        if user is None or program is None:
            return program
        if kind not in self._programs:
            identity = [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
            may = subprocess.run(["setpriv", *identity, "test", "-x", str(program)], check=False)
            if may.returncode != 0:
                copy = self.folder / kind
                shutil.copy2(program, copy)
                copy.chmod(0o755)
                program = copy
            self._programs[kind] = program
        return self._programs[kind]


def yield_to_others(pid: int) -> None:
    """Lets a process run only while nobody else wants its core."""
    os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


def build_load() -> Path:
    """The programs of Benchmarks, built; returns the load generator."""
    command = ["swift", "build", "--configuration", "release", "--package-path", str(PACKAGE)]
    subprocess.run([*command, "--quiet"], check=True)
    return PACKAGE / ".build/release/load"


def machine(cores: Cores) -> dict[str, str]:
    """Where this is measured."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    system = "unknown"
    with contextlib.suppress(OSError):
        system = platform.freedesktop_os_release().get("PRETTY_NAME", system)
    return {
        "processor": model,
        "cores": str(len(cores.all)),
        "memory": f"{pages / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "system": system,
    }


def busy_share(cores: Sequence[int], seconds: float = 1.0) -> float:
    """How much of these cores others take now, up to 1, what a hypervisor takes included."""

    before = procfs.core_ticks(cores)
    time.sleep(seconds)
    ticks = [now - then for now, then in zip(procfs.core_ticks(cores), before)]
    idle = ticks[3] + ticks[4]  # waiting for a disk is idle, too
    return (sum(ticks) - idle) / max(1, sum(ticks))


def commit() -> str:
    """The commit that is measured, and whether files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    answer = subprocess.run(command, cwd=proxies.ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"
