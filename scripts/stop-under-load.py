#!/usr/bin/env python3
"""`docker stop` and `systemctl stop` under load lose no session that ends within the drain time.

Usage: stop-under-load.py docker IMAGE            ENGINE=podman for another engine
       stop-under-load.py systemd [PROGRAM]       DEBIAN=FOLDER that holds a Debian with systemd, or
                                                  is to hold one; it is made from MIRROR=URL

500 sessions exchange numbered records as fast as they can while the proxy is told to stop, and go on
for a random part of the drain time; each must get every record back, and then an orderly end. A few
that do not end must be reset when the time is over, and not before. Then the exit code and the
records in the log are looked at. The seed is printed (STOP_SEED repeats it).

With docker, an engine must run, and its containers must be reachable from here. With systemd, the
unit of deploy/ runs under a booted systemd, in a container and a network of its own; as root.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "acceptance"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import Address, Report  # noqa: E402  (needs the paths above)
from lab import network, procfs  # noqa: E402
from lab.proxies import ROOT, wait_until  # noqa: E402
from traffic import connect, ping_once  # noqa: E402

SESSIONS = 500
OUTLASTING = 5
DRAIN_SECONDS = 6.0
LAST_END_SECONDS = 4.0
LOAD_SECONDS = 1.0
PORT = 7000
CONFIGURATION = f"""\
shutdown: {{drain: {DRAIN_SECONDS:.0f}s}}
routes:
  echo: {{listen: ":{PORT}", to: ["builtin:echo", "builtin:echo"]}}
"""
DEBIAN_PACKAGES = ("systemd", "systemd-sysv", "dbus", "libstdc++6")
RELOADED = re.compile(r" info reloaded ")
END = re.compile(r" access end .* end=([a-z_]+) ")


class Session:
    """A client that sends a numbered record, waits for it to come back, and sends the next."""

    def __init__(self, address: Address, number: int, end_after: float | None) -> None:
        self.socket = connect(address)
        self.socket.setblocking(False)
        self.number = number
        self.end_after = end_after
        self.count = 0
        self.wanted = b""
        self.is_finishing = False
        self.outcome = ""

    def send(self) -> None:
        """The next record, which always finds room: nothing else is under way."""
        self.count += 1
        self.wanted = f"{self.number:6d} {self.count:8d}\n".encode()
        self.socket.sendall(self.wanted)

    def receive(self, is_time: bool) -> None:
        """Takes what came; sets `outcome` when it is over."""
        try:
            part = self.socket.recv(4_096)
            if self.is_finishing:
                self.outcome = "an orderly end" if part == b"" else "more than was sent"
            elif part == b"":
                self.outcome = "an end before its time"
            elif not self.wanted.startswith(part):
                self.outcome = "another record"
            elif len(part) < len(self.wanted):
                self.wanted = self.wanted[len(part) :]
            elif is_time:
                self.is_finishing = True
                self.socket.shutdown(socket.SHUT_WR)
            else:
                self.send()
        except ConnectionResetError:
            self.outcome = "a reset"
        except OSError as error:
            self.outcome = str(error)


class Load:
    """All sessions, in one loop."""

    def __init__(self, address: Address, dice: random.Random) -> None:
        self.sessions: dict[int, Session] = {}
        self.ended: list[tuple[Session, float]] = []
        self.poll = select.epoll()
        for number in range(SESSIONS + OUTLASTING):
            end_after = dice.uniform(0, LAST_END_SECONDS) if number < SESSIONS else None
            session = Session(address, number, end_after)
            self.sessions[session.socket.fileno()] = session
            self.poll.register(session.socket, select.EPOLLIN)
            session.send()

    def run(self, seconds: float, stopped_at: float | None = None) -> None:
        """Goes on for so long, or until all sessions are over."""
        deadline = time.monotonic() + seconds
        while self.sessions and time.monotonic() < deadline:
            for descriptor, _ in self.poll.poll(0.1):
                session = self.sessions[descriptor]
                since = time.monotonic() - stopped_at if stopped_at else -1.0
                session.receive(session.end_after is not None and since >= session.end_after)
                if session.outcome:
                    self.poll.unregister(descriptor)
                    session.socket.close()
                    self.ended.append((self.sessions.pop(descriptor), since))

    @property
    def records(self) -> int:
        """How many have come back."""
        ended = [session for session, _ in self.ended]
        return sum(session.count for session in [*self.sessions.values(), *ended])


class Newcomers:
    """Clients that come one after the other: nobody of them may hang."""

    def __init__(self, address: Address) -> None:
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(address,), daemon=True)

    def _work(self, address: Address) -> None:
        while not self._over.wait(0.02):
            start = time.monotonic()
            try:
                what = "served" if ping_once(address) else "an end"
            except OSError as error:
                what = type(error).__name__
            self.outcomes[what] += 1
            self.slowest = max(self.slowest, time.monotonic() - start)

    def __enter__(self) -> Newcomers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def measure(
    report: Report,
    address: Address,
    reload: list[str],
    stop: list[str],
    log: Callable[[], str],
    seed: int,
) -> None:
    """The load, a reload, the stop, and how all sessions ended."""
    report.note(f"seed {seed} (STOP_SEED={seed} repeats it)")
    load = Load(address, random.Random(seed))
    with Newcomers(address) as newcomers:
        load.run(LOAD_SECONDS)
        reloading = subprocess.Popen(reload, stdout=subprocess.DEVNULL)
        load.run(LOAD_SECONDS)
        code = reloading.wait(timeout=10)
        said = RELOADED.findall(log())
        report.check(
            "a reload under load: no session ends",
            code == 0 and len(said) == 1 and not load.ended,
            f"exit code {code}, {len(said)} in the log, {len(load.ended)} sessions ended",
        )
        before = load.records
        start = time.monotonic()
        stopping = subprocess.Popen(stop, stdout=subprocess.DEVNULL)
        # No longer: once the container is gone, so is its address, and nothing refuses any more.
        load.run(LAST_END_SECONDS + 1, stopped_at=start)
    load.run(DRAIN_SECONDS + 5, stopped_at=start)
    code = stopping.wait(timeout=30)
    seconds = time.monotonic() - start
    ends = Counter(session.outcome for session, _ in load.ended if session.end_after is not None)
    report.check(
        f"{SESSIONS} sessions that end within the drain time",
        ends == {"an orderly end": SESSIONS} and before > SESSIONS,
        f"{dict(ends)}, {before} records before and {load.records - before} after the stop",
    )
    late = [(s.outcome, since) for s, since in load.ended if s.end_after is None]
    report.check(
        f"{OUTLASTING} that do not end are reset when it is over",
        len(late) == OUTLASTING
        and all(what == "a reset" and since >= DRAIN_SECONDS * 0.95 for what, since in late),
        ", ".join(f"{what} after {since:.1f} s" for what, since in late) or "none ended",
    )
    report.check(
        "the command returns when the proxy has ended",
        code == 0 and DRAIN_SECONDS * 0.95 <= seconds < DRAIN_SECONDS + 3,
        f"after {seconds:.1f} s, exit code {code}",
    )
    report.check(
        "newcomers are served or refused, and do not hang",
        newcomers.slowest < 3 and newcomers.outcomes["served"] > 0,
        f"{dict(newcomers.outcomes)}, the slowest took {newcomers.slowest * 1e3:.0f} ms",
    )
    recorded = Counter(END.findall(log()))
    report.check(
        "the records say the same",
        recorded["finished"] >= SESSIONS
        and recorded["drain_deadline"] == OUTLASTING
        and recorded.keys() <= {"finished", "drain_deadline"},
        f"{dict(recorded)}",
    )


# -- Docker ----------------------------------------------------------------------------------------


def docker(report: Report, image: str, seed: int) -> None:
    """The image under the restrictions that docs/container.md promises it can bear."""
    engine = os.environ.get("ENGINE", "docker")
    if shutil.which(engine) is None:
        sys.exit(f"stop-under-load: no {engine} here")

    def ask(*arguments: str) -> str:
        done = subprocess.run([engine, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"stop-under-load: {engine} {' '.join(arguments)}: {done.stderr.strip()}")
        return (done.stdout + done.stderr).strip()

    with tempfile.TemporaryDirectory(prefix="sluice-stop-") as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "config.yaml"
        file.write_text(CONFIGURATION, encoding="utf-8")
        file.chmod(0o644)
        container = ask(
            *("run", "--detach", "--read-only", "--cap-drop", "ALL"),
            *("--security-opt", "no-new-privileges", "--pids-limit", "64"),
            *("--volume", f"{file}:/etc/sluice/config.yaml:ro", image),
        )
        try:
            host = ask("inspect", "--format", "{{.NetworkSettings.IPAddress}}", container)
            address = (host, PORT)
            wait_until(lambda: answers(address), 15, f"an echo from {host}")
            reload = [engine, "kill", "--signal=HUP", container]
            stop = [engine, "stop", "--time", str(int(DRAIN_SECONDS) + 10), container]
            measure(report, address, reload, stop, lambda: ask("logs", container), seed)
            code = ask("inspect", "--format", "{{.State.ExitCode}}", container)
            report.check("exit code of the container", code == "0", code)
        finally:
            ask("rm", "--force", container)


def answers(address: Address) -> bool:
    """Whether a session is served."""
    with contextlib.suppress(OSError):
        return ping_once(address)
    return False


# -- systemd ---------------------------------------------------------------------------------------


def debian_mirror() -> str:
    """The address of the first Debian archive that this machine's own sources name."""
    sources = Path("/etc/apt").glob("sources.list*")
    files = [file for source in sources for file in (source.iterdir() if source.is_dir() else [source])]
    for file in sorted(files):
        # `deb [options] URI suite …`, or `URIs: URI …` in the other format (sources.list(5)).
        for line in file.read_text().splitlines():
            match = re.match(r"(?:deb\s+(?:\[[^]]*\]\s+)?|URIs:\s*)(\S*/debian)/?(?:\s|$)", line)
            if match:
                return match[1]
    sys.exit("stop-under-load: apt's sources name no Debian archive; set MIRROR to the address of one")


def make_root(folder: Path) -> None:
    """A small Debian with systemd, by debootstrap."""
    subprocess.run(
        [
            *("debootstrap", "--variant=minbase", f"--include={','.join(DEBIAN_PACKAGES)}"),
            *("bookworm", str(folder), os.environ.get("MIRROR") or debian_mirror()),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[list[str]]:
    """The folder's systemd, booted; yields a command that executes others inside of it."""
    # Its own /run, because systemd-nspawn would register with the machine's systemd.
    script = 'mount -t tmpfs tmpfs /run && exec "$@"'
    nspawn = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"]
    nspawn += ["--volatile=no", "--machine=sluice-stop", "--console=pipe", f"--directory={folder}"]
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, "sh", *nspawn],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    init: list[int] = []
    inside = ["nsenter", "--mount", "--uts", "--ipc", "--pid", "--target"]
    try:

        def has_init() -> bool:
            if process.poll() is not None:
                sys.exit(f"stop-under-load: systemd-nspawn ended with {process.returncode}")
            init[:] = [pid for pid in procfs.process_tree(process.pid) if is_init(pid)]
            return bool(init)

        wait_until(has_init, 20, "the container's init")
        yield [*inside, str(init[0])]
    finally:
        if init:
            halt = [*inside, str(init[0]), "systemctl", "poweroff", "--force"]
            subprocess.run(halt, check=False)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_init(pid: int) -> bool:
    """Whether the process is number 1 of a namespace below ours."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                return len(numbers) > 1 and numbers[-1] == "1"
    return False


def systemd(report: Report, program: Path, seed: int) -> None:
    """The unit of deploy/, started and stopped by systemctl."""
    if os.geteuid() != 0:
        sys.exit("stop-under-load: booting a systemd needs root")
    with tempfile.TemporaryDirectory(prefix="sluice-stop-") as temporary:
        root = Path(os.environ.get("DEBIAN") or Path(temporary) / "debian")
        if not root.exists():
            make_root(root)
        report.note(f"network: {network.isolate()}")
        install(root, program)
        with booted(root) as inside:

            def ask(*arguments: str) -> str:
                done = subprocess.run(
                    [*inside, *arguments], capture_output=True, text=True, check=False
                )
                return done.stdout.strip()

            wait_until(lambda: ask("systemctl", "is-active", "sluice") == "active", 30, "the unit")
            address = ("127.0.0.1", PORT)
            wait_until(lambda: answers(address), 5, "an echo")
            reload = [*inside, "systemctl", "reload", "sluice.service"]
            stop = [*inside, "systemctl", "stop", "sluice.service"]

            def log() -> str:
                return ask("journalctl", "--boot", "--unit=sluice", "--output=cat", "--no-pager")

            measure(report, address, reload, stop, log, seed)
            properties = ("Result", "ExecMainStatus", "ActiveState")
            state = ask("systemctl", "show", f"--property={','.join(properties)}", "sluice")
            report.check(
                "systemd's view of it",
                sorted(state.split())
                == ["ActiveState=inactive", "ExecMainStatus=0", "Result=success"],
                state.replace("\n", " "),
            )


def install(root: Path, program: Path) -> None:
    """The program, its unit, and its configuration."""
    shutil.copy2(program, root / "usr/local/bin/sluice")
    (root / "etc/sluice").mkdir(exist_ok=True)
    (root / "etc/sluice/config.yaml").write_text(CONFIGURATION, encoding="utf-8")
    unit = root / "etc/systemd/system/sluice.service"
    shutil.copy2(ROOT / "deploy/sluice.service", unit)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    link = wants / "sluice.service"
    link.unlink(missing_ok=True)
    link.symlink_to("/etc/systemd/system/sluice.service")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("docker", "systemd"))
    parser.add_argument("subject", nargs="?", help="the image, or the program")
    arguments = parser.parse_args()
    seed = int(os.environ.get("STOP_SEED", time.time_ns() % 1_000_000))
    report = Report()
    print("docker stop under load" if arguments.what == "docker" else "systemctl stop under load")
    if arguments.what == "docker":
        docker(report, arguments.subject or "sluice:latest", seed)
    else:
        systemd(report, Path(arguments.subject or ROOT / ".build/release/sluice"), seed)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
