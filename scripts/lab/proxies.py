"""Starts a proxy, ours or a peer, from one description of what it shall do.

The same description is written in each proxy's own configuration language, so that a check or a
benchmark runs unchanged against Sluice, HAProxy (`mode tcp`), nginx (`stream`) and Envoy
(`tcp_proxy`).
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from lab import envoy, procfs

Stream = IO[bytes] | int
# An earlier build of Sluice, which BEFORE names.
BEFORE = "before"
KINDS = ("sluice", *([BEFORE] if "BEFORE" in os.environ else []), "haproxy", "nginx", "envoy")
ROOT = Path(__file__).resolve().parents[2]
SESSIONS_MAX = 10_000
NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


class ProxyFailed(Exception):
    """The proxy did not start, ended by itself, or did not end as it should."""


@dataclass(frozen=True)
class Room:
    """What a proxy has room for under a limit of open files."""

    descriptors: int

    @property
    def pipes(self) -> int:
        """Pipes for splicing; each has two descriptors."""
        return min(200, self.descriptors // 40)

    @property
    def sessions(self) -> int:
        """Sessions of two sockets; no more than any check needs: peers reserve memory for it."""
        return self.sessions_beside(0)

    def sessions_beside(self, others: int) -> int:
        """The same, where so many descriptors go to listeners and to checks of endpoints."""
        reserve = min(800, self.descriptors // 2) + others
        return max(1, min(SESSIONS_MAX, (self.descriptors - 2 * self.pipes - reserve) // 2))


@dataclass(frozen=True)
class Route:
    """Where one route listens and which endpoints answer; all are `address:port` or `unix:path`."""

    name: str
    listen: list[str]
    to: list[str]
    idle: str | None = None


@dataclass(frozen=True)
class Settings:
    """What the proxy is asked to do. `access_log` is a file, or None for no access log.

    What only some of them know: `check` is how often each endpoint is connected to (nginx has no
    such checks), `spin` whether to poll instead of sleeping (Sluice for 200 us, HAProxy for ever),
    `splice` is HAProxy's choice (forced, auto or off) and `pipe` how large its pipes are; `buffer`
    is how much nginx reads at once and Envoy keeps at most, per direction.
    """

    routes: list[Route]
    workers: int = 1
    max_sessions: int | None = None
    access_log: Path | None = None
    drain: str = "2s"
    check: str | None = None
    spin: bool = False
    splice: str = "forced"
    pipe: int | None = None
    buffer: int | None = None


def sluice_text(settings: Settings, is_earlier: bool = False) -> str:
    """The description as Sluice's configuration file. An earlier build may not know the keys that
    only equal the conditions of the peers, and does without them."""
    lines = [
        f"workers: {settings.workers}",
        f"log: {{access: {quoted(settings.access_log or 'off')}, level: warning}}",
        f"shutdown: {{drain: {settings.drain}}}",
    ]
    if settings.max_sessions is not None:
        lines.append(f"max_sessions: {settings.max_sessions}")
    if settings.spin:
        lines.append("spin: 200us")
    lines.append("defaults:")
    half_close = "" if is_earlier else ", half_close_timeout: 1m"
    lines.append(f"  route: {{idle: 1h{half_close}}}")
    check = f", check: {{tcp: {{}}, every: {settings.check}}}" if settings.check else ""
    # outlier: off, as max_fails=0 of nginx: a refused connect in one check must not close the endpoint
    # for the next.
    outlier = "" if is_earlier else ", outlier: off"
    lines.append(f"  upstream: {{connect: 5s{outlier}{check}}}")
    lines.append("routes:")
    for route in settings.routes:
        listen = ", ".join(quoted(address) for address in route.listen)
        endpoints = ", ".join(quoted(address) for address in route.to)
        idle = f", idle: {route.idle}" if route.idle else ""
        lines.append(f"  {route.name}: {{listen: [{listen}], to: [{endpoints}]{idle}}}")
    return "\n".join(lines) + "\n"


def haproxy_text(settings: Settings, room: Room) -> str:
    """The description as HAProxy's configuration file."""
    # It counts a descriptor for each listener and each check, and refuses to start without them.
    others = sum(len(route.listen) for route in settings.routes)
    if settings.check is not None:
        others += sum(len(route.to) for route in settings.routes)
    if others < 200:
        others = 0  # in the reserve
    sessions = settings.max_sessions or room.sessions_beside(others)
    lines = ["global", f"  nbthread {settings.workers}"]
    # Descriptors for these must fit into the hard limit, or it refuses to start.
    lines += [f"  maxconn {sessions}", f"  maxpipes {room.pipes}"]
    if settings.pipe is not None:
        lines.append(f"  tune.pipesize {settings.pipe}")
    if settings.spin:
        lines.append("  busy-polling")
    if settings.access_log is not None:
        lines.append("  log stdout format raw local0")
    lines += ["defaults", "  mode tcp", "  timeout connect 5s"]
    lines += ["  timeout client-fin 1m", "  timeout server-fin 1m"]
    if settings.splice == "forced":
        lines += ["  option splice-request", "  option splice-response"]
    elif settings.splice == "auto":
        lines.append("  option splice-auto")
    if settings.check is not None:
        lines.append(f"  default-server check inter {settings.check} rise 2 fall 3")
    if settings.access_log is not None:
        lines += ["  log global", "  option tcplog"]
    for route in settings.routes:
        lines.append(f"listen {route.name}")
        lines.append(f"  timeout client {route.idle or '1h'}")
        lines.append(f"  timeout server {route.idle or '1h'}")
        lines.append(f"  maxconn {sessions}")
        lines += [f"  bind {haproxy_address(address)}" for address in route.listen]
        lines += [f"  server s{n} {haproxy_address(to)}" for n, to in enumerate(route.to)]
    return "\n".join(lines) + "\n"


def haproxy_address(address: str) -> str:
    """An address in HAProxy's words."""
    return address.replace("unix:", "unix@", 1) if address.startswith("unix:") else address


def nginx_text(settings: Settings, room: Room, folder: Path) -> str:
    """The description as nginx's configuration file."""
    access_log = "off"
    if settings.access_log is not None:
        # Lines are gathered, as the other proxies do it, too.
        access_log = f"{settings.access_log} session buffer=64k flush=1s"
    # Debian's has `stream` as a module; another one must have it built in.
    is_debians = NGINX_STREAM.exists() and "NGINX" not in os.environ
    lines = [f"load_module {NGINX_STREAM};"] if is_debians else []
    lines += ["daemon off;", f"pid {folder}/nginx.pid;", "error_log stderr warn;"]
    lines += [f"worker_processes {settings.workers};"]
    lines += [f"worker_rlimit_nofile {room.descriptors};"]
    # A session is two connections; a listener is one, too.
    listeners = sum(len(route.listen) for route in settings.routes)
    connections = 2 * room.sessions + listeners + 16
    lines += [f"events {{ worker_connections {connections}; }}", "stream {"]
    lines += [
        "  log_format session '$remote_addr [$time_iso8601] $server_port $upstream_addr'",
        "    ' $bytes_received $bytes_sent $upstream_connect_time $session_time $status';",
    ]
    lines += [f"  access_log {access_log};", "  proxy_connect_timeout 5s;"]
    lines += ["  proxy_half_close on;"]
    if settings.buffer is not None:
        lines.append(f"  proxy_buffer_size {settings.buffer};")
    for route in settings.routes:
        lines.append(f"  upstream {route.name} {{")
        # max_fails=0: a refused connect in one check must not close the endpoint for the next.
        lines += [f"    server {address} max_fails=0;" for address in route.to]
        lines.append("  }")
        lines.append("  server {")
        lines += [f"    listen {address};" for address in route.listen]
        lines.append(f"    proxy_timeout {route.idle or '1h'};")
        lines.append(f"    proxy_pass {route.name};")
        lines.append("  }")
    lines.append("}")
    return "\n".join(lines) + "\n"


def binary_of(kind: str) -> Path | None:
    """The program of a kind, or None where it is not there. SLUICE, BEFORE, HAPROXY, NGINX and ENVOY
    name others than those that were built or installed here."""
    named = os.environ.get(kind.upper())
    if kind == "sluice" or named is not None:
        binary = Path(named or ROOT / ".build/release/sluice")
        return binary if binary.exists() else None
    if kind == "envoy":
        return envoy.binary(ROOT)
    found = shutil.which(kind, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if kind == "nginx" and not NGINX_STREAM.exists():
        return None
    return Path(found) if found else None


@dataclass
class Proxy:
    """A running proxy. Use it as a context: it ends, by its own process id, on the way out.

    `core` is the core it may use, or a list such as `0,1`; `user` the number of a user without
    privileges that it runs as (for which this process must be root), and `program` another copy of
    the program, for a user who may not reach the first.
    """

    kind: str
    settings: Settings
    core: int | str | None = None
    descriptors_max: int | None = None
    wait: bool = True
    user: int | None = None
    program: Path | None = None
    folder: Path = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)
    started_at: float = field(default=0.0, init=False)
    _was_asked_to_end: bool = field(default=False, init=False)

    def __enter__(self) -> Self:
        # World-readable, because nginx's worker gives up root.
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-lab-"))
        self.folder.chmod(0o755)
        if self.user is not None:
            os.chown(self.folder, self.user, self.user)
        try:
            self._start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self.stop(failing=error is not None)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The process id; of nginx the master's."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def output(self) -> str:
        """The last lines that the proxy said."""
        text = (self.folder / "output").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-20:])

    def terminate(self) -> None:
        """Asks the proxy to drain and to end."""
        self._was_asked_to_end = True
        self.process.send_signal(signal.SIGTERM)

    def stop(self, failing: bool = False) -> None:
        """Ends the proxy: SIGTERM, and SIGKILL when that is not enough.

        Sluice promises to drain and exit with 0; anything else is a failure, unless the check has
        one of its own to report.
        """
        ended_by_itself = not self.is_alive and not self._was_asked_to_end
        if self.is_alive and not self._was_asked_to_end:
            self.terminate()
        try:
            code = self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            if not failing:
                raise ProxyFailed("did not end within 20 s of SIGTERM") from None
            return
        if failing or self.kind != "sluice":
            return
        if ended_by_itself:
            raise ProxyFailed(f"ended by itself with {code}\n{self.output()}")
        if code != 0:
            raise ProxyFailed(f"exited with {code} on SIGTERM\n{self.output()}")

    def command(self) -> list[str]:
        """The command line, with its configuration file written."""
        binary = self.program or binary_of(self.kind)
        if binary is None:
            raise ProxyFailed(f"{self.kind} is not there: build or install it first")
        configuration = self.folder / "configuration"
        room = Room(self.descriptors_max or hard_descriptor_limit())
        if self.kind in ("sluice", BEFORE):
            configuration.write_text(sluice_text(self.settings, is_earlier=self.kind == BEFORE))
            command = [str(binary), "run", "-c", str(configuration)]
        elif self.kind == "haproxy":
            configuration.write_text(haproxy_text(self.settings, room))
            command = [str(binary), "-db", "-f", str(configuration)]
        elif self.kind == "envoy":
            configuration = configuration.with_suffix(".json")
            configuration.write_text(envoy.envoy_text(self.settings, room))
            command = envoy.command(binary, configuration, self.settings)
        else:
            configuration.write_text(nginx_text(self.settings, room, self.folder))
            command = [str(binary), "-e", "stderr", "-p", str(self.folder)]
            command += ["-c", str(configuration)]
        if self.user is not None:
            identity = [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
            command = ["setpriv", *identity, "--inh-caps=-all", "--no-new-privs", *command]
        if self.core is not None:
            command = ["taskset", "--cpu-list", str(self.core), *command]
        return command

    def _streams(self, stdout: IO[bytes], stderr: IO[bytes]) -> tuple[Stream, Stream]:
        """Where standard output and standard error go, for those who want them elsewhere."""
        return stdout, stderr

    def _start(self) -> None:
        output = open(self.folder / "output", "wb")
        log = self.settings.access_log
        stdout = open(log, "ab") if self.kind == "haproxy" and log is not None else output
        limit = self.descriptors_max

        def lower_limit() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        out, error = self._streams(stdout, output)
        command = self.command()
        self.started_at = time.monotonic()
        with output, stdout:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=error,
                cwd=self.folder,
                preexec_fn=lower_limit if limit is not None else None,
            )
        if not self.wait:
            return
        ports = Counter(
            int(address.rpartition(":")[2])
            for route in self.settings.routes
            for address in route.listen
            if not address.startswith("unix:")
        )
        try:
            wait_until(
                lambda: (
                    not self.is_alive
                    or all(procfs.listeners(port) >= count for port, count in ports.items())
                ),
                seconds=20,
                what=f"{self.kind} to listen",
            )
        except TimeoutError as error:
            self.process.kill()
            self.process.wait()
            raise ProxyFailed(f"{error}\n{self.output()}") from None
        if not self.is_alive:
            raise ProxyFailed(f"{self.kind} did not start\n{self.output()}")


def quoted(text: object) -> str:
    """A YAML scalar that cannot be taken for anything but this text."""
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Returns as soon as the condition holds; a deadline that passes is a TimeoutError."""
    deadline = time.monotonic() + seconds
    pause = 0.0005
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


_taken: set[int] = set()
_port_share = (0, 1)


def share_ports(index: int, count: int) -> None:
    """From now on `free_port` returns only ports of this share: of several processes that look for
    ports at the same time, none takes what another one has found."""
    global _port_share
    _port_share = (index, count)


def free_port() -> int:
    """A port that nothing uses, below those which the kernel gives to outgoing connections."""
    text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    ephemeral = int(text.split()[0])
    candidates = random.SystemRandom()
    for _ in range(20_000):
        port = candidates.randrange(10_240, ephemeral)
        index, count = _port_share
        if port in _taken or port % count != index:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
        _taken.add(port)
        return port
    raise OSError("no free port found in 20,000 attempts")


def hard_descriptor_limit() -> int:
    """How many descriptors a process may have at most; a large number where there is no limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if hard == resource.RLIM_INFINITY else hard


def raise_descriptor_limit() -> int:
    """As many descriptors as the machine's hard limit lets us have; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard_descriptor_limit()
