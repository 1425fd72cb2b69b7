"""A name server changes its answers, falls silent, dies: endpoints follow, sessions do not notice.

dnsmasq answers at an address of the loopback; only the proxy asks it, because the proxy has mounts
of its own in which /etc/resolv.conf names it. Each address of the name is an endpoint that says
which one it is, so that new sessions tell at once which endpoints there are. Sessions with all of
them exchange messages all the time, those with endpoints that the name has lost as well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from harness import Address, Report, text
from lab.proxies import free_port, wait_until
from lab.sluice import Sluice, private_mounts
from named import Client, close, serve, served_by, spread
from traffic import listening, process

NAME = "db.sluice.test"
SERVER = "127.0.0.153"
HOSTS = tuple(f"127.0.2.{index}" for index in range(1, 6))
RESOLVE_SECONDS = 1.0
# Jitter, the look-up itself, and what a loaded machine adds.
SLACK_SECONDS = 0.5
SESSIONS = 40
DEAD_SECONDS = 4.0
# glibc asks twice, a second each, before it gives up on a name server that is silent.
QUESTION_SECONDS = 2.0
WARNING_SECONDS = RESOLVE_SECONDS + QUESTION_SECONDS + 2
PAUSE_SECONDS_MAX = 0.5


class DNSMasq:
    """dnsmasq at an address of its own."""

    def __init__(self, host: str, port: int, name: str, *options: str) -> None:
        program = shutil.which("dnsmasq", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if program is None:
            raise FileNotFoundError("dnsmasq is not there: scripts/install.sh acceptance")
        self.host, self.port = host, port
        # For the name's A records, in the words of RFC 1035.
        labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        self.question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
        self.command = [
            *(program, "--keep-in-foreground", "--conf-file=/dev/null", "--user=root"),
            *("--pid-file=", "--no-resolv", "--no-hosts", "--bind-interfaces"),
            *(f"--listen-address={host}", f"--port={port}", *options),
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> float:
        """Starts it, and waits until it answers; returns when that was."""
        self.process = subprocess.Popen([*self.command, *options], stderr=subprocess.DEVNULL)
        wait_until(self._answers, 10, "dnsmasq to answer")
        return time.monotonic()

    def die(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise OSError("dnsmasq has ended; is the port taken, or is this not root?")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(0.2)
            with contextlib.suppress(OSError):
                asking.connect((self.host, self.port))
                asking.send(self.question)
                return asking.recv(512)[:2] == self.question[:2]
        return False


class NameServer(DNSMasq):
    """One name, whose addresses stand in a file."""

    def __init__(self, folder: Path) -> None:
        self.hosts = folder / "hosts"
        local = ("--local=/test/", f"--addn-hosts={self.hosts}", "--local-ttl=0")
        super().__init__(SERVER, 53, NAME, *local)

    def say(self, *hosts: str) -> float:
        """From now on these are the addresses; returns when that was."""
        self.hosts.write_text("".join(f"{host} {NAME}\n" for host in hosts), encoding="ascii")
        self.hosts.chmod(0o644)
        if self.process is not None:
            self.process.send_signal(signal.SIGHUP)
        return time.monotonic()

    def stop(self) -> None:
        """SIGSTOP: from now on it is silent."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)


class Zone(DNSMasq):
    """Records that it is started with: a change is another process at the same place. Without records it
    forwards to a port that nobody has, and so refuses every question."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port, "x.test")

    def say(self, *records: str) -> float:
        """From now on these are the records, in the words of dnsmasq; returns when that was."""
        self.die()
        return self.start(*(f"--{record}" for record in ("local=/test/", *records)))

    def fail(self) -> float:
        """From now on it has no answer for any name, and says so (REFUSED or SERVFAIL)."""
        self.die()
        return self.start()


class Held:
    """Sessions that exchange a message every so often, from a thread of their own."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.lost: list[Client] = []
        self.messages = 0
        self.slowest = 0.0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def add(self, address: Address, count: int) -> None:
        """So many sessions more."""
        for _ in range(count):
            client = Client(address)
            with self._lock:
                self.clients.append(client)

    def _work(self) -> None:
        while not self._over.wait(0.02):
            with self._lock:
                clients = [client for client in self.clients if client not in self.lost]
            start = time.monotonic()
            self.lost += [client for client in clients if not client.is_alive()]
            self.messages += len(clients)
            self.slowest = max(self.slowest, time.monotonic() - start)

    def __enter__(self) -> Held:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        close(self.clients)


def follows(
    report: Report, address: Address, said: float, hosts: tuple[str, ...], patience: float = 0
) -> None:
    """New sessions are with these endpoints, soon; `patience` is for a question that is under
    way."""
    wanted = {host[-1] for host in hosts}
    limit = RESOLVE_SECONDS + SLACK_SECONDS + patience
    names: Counter[str] = Counter()
    elapsed = 0.0
    while elapsed < limit + 3:
        names = served_by(address, 2 * len(HOSTS))
        elapsed = time.monotonic() - said
        if names.keys() == wanted:
            break
        time.sleep(0.02)
    report.check(
        f"the name has {len(hosts)} addresses ({', '.join(sorted(wanted))}): endpoints follow",
        names.keys() == wanted and elapsed <= limit,
        f"after {elapsed:.2f} s (at most {limit:.1f}), {spread(names)}",
    )


def private_names(folder: Path) -> tuple[str, ...]:
    """A prefix for a command that asks our name server, and nobody else."""
    resolv, switch, hosts = (folder / name for name in ("resolv.conf", "nsswitch.conf", "none"))
    resolv.write_text(f"nameserver {SERVER}\noptions timeout:1 attempts:2\n", encoding="ascii")
    switch.write_text("hosts: files dns\n", encoding="ascii")
    hosts.write_text("127.0.0.1 localhost\n", encoding="ascii")
    script = " && ".join(
        f'mount --bind "{file}" /etc/{name}'
        for file, name in ((resolv, "resolv.conf"), (switch, "nsswitch.conf"), (hosts, "hosts"))
    )
    return (*private_mounts(), "sh", "-c", script + ' && exec "$@"', "sh")


def run(report: Report, kind: str) -> None:
    """Answers that change, a name server that dies, and comes back with other answers."""
    if kind != "sluice":
        report.note("only Sluice is asked for this")
        return
    port, address = free_port(), ("127.0.0.1", free_port())
    servers = [listening(host, port) for host in HOSTS]
    with contextlib.ExitStack() as stack:
        named = {server: server.getsockname()[0][-1:].encode() for server in servers}
        stack.enter_context(process(serve, named))
        for server in servers:
            server.close()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-names-")))
        folder.chmod(0o755)
        prefix = private_names(folder)
        names = NameServer(folder)
        names.say(*HOSTS[:2])
        stack.callback(names.die)
        names.start()
        configuration = f"""\
workers: 2
log: {{access: off}}
shutdown: {{drain: 1s}}
routes:
  main: {{listen: "{text(address)}", to: db}}
upstreams:
  db: {{resolve: {RESOLVE_SECONDS * 1e3:.0f}ms, endpoints: ["{NAME}:{port}"]}}
"""
        with Sluice(configuration, prefix=prefix) as proxy, Held() as held:
            measure(report, proxy, address, names, held)
        names.die()
        discover(report, port)


def told(report: Report, proxy: Sluice, mark: int, kind: str, message: str, seconds: float) -> None:
    """A line of the log that must be there."""
    try:
        line = proxy.log.wait_for(mark, kind, message, seconds)
        words = ", ".join(f"{key}: {value}" for key, value in line.pairs.items() if key != "name")
        report.check(f"the log says '{message}'", True, words)
    except TimeoutError as error:
        report.check(f"the log says '{message}'", False, str(error))


def measure(
    report: Report, proxy: Sluice, address: Address, names: NameServer, held: Held
) -> None:
    """All that happens to the name."""
    held.add(address, SESSIONS)
    follows(report, address, time.monotonic(), HOSTS[:2])
    for hosts in (HOSTS[1:3], HOSTS[2:5], HOSTS[3:4]):
        mark = proxy.log.mark()
        follows(report, address, names.say(*hosts), hosts)
        told(report, proxy, mark, "info", "a name has other addresses", 1)
        held.add(address, 10)

    mark = proxy.log.mark()
    names.stop()
    told(report, proxy, mark, "warning", "a name cannot be looked up", WARNING_SECONDS)
    names.die()
    time.sleep(DEAD_SECONDS)
    served = served_by(address, 20)
    failures = proxy.metrics()("sluice_resolve_failures_total", name=NAME)
    warnings = proxy.log.since(mark, "warning") + proxy.log.since(mark, "error")
    report.check(
        "the name server is silent, then dead: endpoints stay, and the warning is not repeated",
        served == {"4": 20} and len(warnings) == 1 and failures > 1,
        f"{spread(served)}, {len(warnings)} warnings, {failures:.0f} failures in the metrics",
    )

    names.say(HOSTS[0], HOSTS[4])
    mark = proxy.log.mark()
    names.start()
    follows(report, address, time.monotonic(), (HOSTS[0], HOSTS[4]), QUESTION_SECONDS)
    told(report, proxy, mark, "info", "a name", 1)
    hosts = {client.name for client in held.clients}
    report.check(
        "sessions do not notice, with endpoints that are gone as with others",
        not held.lost and held.slowest < PAUSE_SECONDS_MAX and len(hosts) == len(HOSTS),
        f"{len(held.clients)} sessions with {len(hosts)} endpoints, {held.messages} messages, "
        f"{len(held.lost)} lost, the slowest round took {held.slowest * 1e3:.0f} ms",
    )


TTL_SECONDS = 1
SERVICE = "_db._tcp.sluice.test"


def node(number: int, ttl: int = TTL_SECONDS) -> str:
    """The record of one server's name."""
    return f"host-record=n{number}.sluice.test,{HOSTS[number - 1]},{ttl}"


def service(number: int, port: int, priority: int, weight: int) -> str:
    """The record that one server belongs to the service."""
    return f"srv-host={SERVICE},n{number}.sluice.test,{port},{priority},{weight}"


def discover(report: Report, port: int) -> None:
    """Name servers that are asked directly."""
    zone_port, address = free_port(), ("127.0.0.1", free_port())
    zone = Zone(SERVER, zone_port)
    # dnsmasq has one time to live for all records of services.
    short = f"local-ttl={TTL_SECONDS}"
    # One worker, for shares that are exact.
    configuration = f"""\
workers: 1
log: {{access: off}}
shutdown: {{drain: 1s}}
routes:
  main: {{listen: "{text(address)}", to: db}}
upstreams:
  db:
    # The first server is not there.
    resolve: {{every: ttl, max: 2s, timeout: 3s, server: ["127.0.0.154:{zone_port}", "{SERVER}:{zone_port}"]}}
    endpoints: ["srv:{SERVICE}"]
"""
    with contextlib.ExitStack() as stack:
        stack.callback(zone.die)
        zone.say(short, node(1), node(2), service(1, port, 1, 10), service(2, port, 1, 30))
        proxy = stack.enter_context(Sluice(configuration))
        held = stack.enter_context(Held())
        held.add(address, 20)
        names = served_by(address, 40)
        report.check(
            "a service: its records' weights, 1 to 3, beside a name server that is dead",
            names == {"1": 10, "2": 30},
            spread(names),
        )
        said = zone.say(short, node(1), node(2), service(1, port, 2, 10), service(2, port, 1, 10))
        follows(report, address, said, HOSTS[1:2], 1)
        said = zone.say(short, node(2), node(3), service(2, port, 1, 10), service(3, port, 1, 10))
        follows(report, address, said, HOSTS[1:3], 1)
        many = [node(4)] + [f"host-record=n4.sluice.test,127.0.9.{last}" for last in range(1, 120)]
        said = zone.say(short, *many, service(4, port, 1, 0), node(5), service(5, port, 0, 0))
        # Those of 127.0.9.0/24 serve nobody: they are of the second tier.
        follows(report, address, said, HOSTS[4:5], 1)
        # Each of them has a line in the metrics, and so is an endpoint.
        metrics = proxy.metrics()
        count = 0
        for last in range(1, 120):
            with contextlib.suppress(LookupError):
                metrics("sluice_endpoint_up", endpoint=f"n4.sluice.test(127.0.9.{last}:{port})")
                count += 1
        report.check(
            "an answer with 120 addresses, which only TCP can carry", count == 119, f"{count + 1}"
        )
        mark = proxy.log.mark()
        zone.fail()
        told(report, proxy, mark, "warning", "a name cannot be looked up", 8)
        time.sleep(2)
        served = served_by(address, 10)
        report.check("the name server fails: endpoints stay", served == {"5": 10}, spread(served))
        said = zone.say(short, node(1), service(1, port, 1, 10))
        follows(report, address, said, HOSTS[:1], 4)
        report.check(
            "sessions do not notice",
            not held.lost and held.slowest < PAUSE_SECONDS_MAX,
            f"{len(held.clients)} sessions, {held.messages} messages, {len(held.lost)} lost",
        )
