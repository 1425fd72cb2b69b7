"""50 reloads under 2,000 sessions that exchange numbered records: nothing lost, nobody refused.

Each reload changes the file at random: routes and listeners come and go, and so do endpoints;
weights, bounds and timeouts change. One route never changes; its sessions must not lose a record,
and clients that come to it all the time must all be served. Another keeps its name and its listener
while the rest of it changes. Every fifth file or so is wrong: nothing may change then, and the log
must say why. After each reload every route is tried, and the log is asked later which endpoint
served; sessions of routes that are gone are kept and used on. The seed is printed (RELOAD_SEED
repeats it).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections import Counter
from dataclasses import dataclass, field

from changing import HOSTS, World
from harness import Report, check_descriptors, mib, settle, text
from lab import procfs
from lab.proxies import wait_until
from lab.sluice import Sluice
from records import ROUND_SECONDS, come_and_go, exchange, traffic
from traffic import connect, echo, endpoint, ping, warm_up

SESSIONS = 2_000
CHANGED_SESSIONS = 100
RELOADS = 50
WARM_RELOADS = 10
SIGNALS = 20
HELD_MAX = 80
QUIET_RELOADS = 40
# Under traffic memory is in pieces; without it, only what reloads leave behind remains.
GROWTH_BYTES_MAX = 2 * 1024 * 1024
QUIET_GROWTH_BYTES_MAX = 256 * 1024
ROUND_SECONDS_MAX = 2.0


@dataclass
class Findings:
    """What the reloads have shown."""

    reloaded: int = 0
    refused: int = 0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)
    # By a client's address and the listener's: the route, and who may have served.
    probes: dict[tuple[str, str], tuple[str, set[str]]] = field(default_factory=dict)


class Held:
    """Sessions of routes that come and go, kept and used on."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.clients: list[tuple[str, socket.socket]] = []
        self.survived = 0
        self.lost: list[str] = []

    def add(self, route: str, client: socket.socket) -> None:
        """Keeps a session, and lets another one end when there are many."""
        self.clients.append((route, client))
        if len(self.clients) > HELD_MAX:
            self.clients.pop(self.dice.randrange(len(self.clients)))[1].close()

    def use(self, present: set[str]) -> None:
        """A message on each; counts those whose route is not there any more."""
        for route, client in list(self.clients):
            try:
                alive = ping(client)
            except OSError:
                alive = False
            if not alive:
                self.lost.append(route)
                self.clients.remove((route, client))
            elif route not in present:
                self.survived += 1

    def close(self) -> None:
        """All of them end."""
        for _, client in self.clients:
            client.close()
        self.clients.clear()


def one_reload(proxy: Sluice, world: World, findings: Findings, held: Held) -> None:
    """A file that counts, or one that is refused; then everything is tried."""
    is_wrong = world.dice.random() < 0.2
    file, word = world.wrong() if is_wrong else (world.next(), "")
    start = time.monotonic()
    lines = proxy.reload(file)
    findings.slowest = max(findings.slowest, time.monotonic() - start)
    if not is_wrong:
        findings.reloaded += 1
        if lines[0].message != "reloaded":
            findings.wrong.append(f"a good file was refused: {lines[0].text}")
    else:
        findings.refused += 1
        if lines[0].message == "reloaded" or not any(word in line.text for line in lines):
            findings.wrong.append(f"a wrong file, with '{word}': {lines[0].text}")
    probe(world, findings, held)
    held.use(set(world.routes))
    # Traffic goes on for a while with what there is now.
    time.sleep(world.dice.uniform(0, 2 * ROUND_SECONDS))


def many_signals(proxy: Sluice, world: World, findings: Findings) -> None:
    """One signal after the other, each with another file; the last one is what counts in the end."""
    for _ in range(SIGNALS):
        proxy.rewrite(world.next())
        proxy.process.send_signal(signal.SIGHUP)
        time.sleep(world.dice.choice((0, 0, 0.002, 0.01)))

    def wrong() -> list[str]:
        seen, held = Findings(), Held(world.dice)
        probe(world, seen, held)
        held.close()
        return seen.wrong

    try:
        wait_until(lambda: not wrong(), 5, "the last of many files to count")
    except TimeoutError as error:
        findings.wrong += [str(error), *wrong()]


def probe(world: World, findings: Findings, held: Held) -> None:
    """Every listener of the file serves, and every other one is gone."""
    present: set[int] = set()
    for route, (_, ports) in world.routes.items():
        present.update(ports)
        for port in ports:
            try:
                client = connect(("127.0.0.1", port))
                if not ping(client):
                    raise ConnectionError("no echo")
            except OSError as error:
                findings.wrong.append(f"route {route} at port {port}: {error}")
                continue
            key = (text(client.getsockname()), text(client.getpeername()))
            findings.probes[key] = (route, world.servers(route))
            if world.dice.random() < 0.5:
                held.add(route, client)
            else:
                client.close()
    for port in set(world.ports) - present:
        if not is_refused(port):
            findings.wrong.append(f"port {port} of no route is still served")


def is_refused(port: int) -> bool:
    """Whether nobody listens there, soon if not at once."""

    def refuses() -> bool:
        with socket.socket() as client:
            client.settimeout(2)
            try:
                client.connect(("127.0.0.1", port))
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
            return False

    try:
        wait_until(refuses, 1, "a refusal")
    except TimeoutError:
        return False
    return True


def judge_records(report: Report, proxy: Sluice, findings: Findings) -> None:
    """What the log says of all those sessions."""
    ends = proxy.log.since(0, "access", "end")
    bad = Counter(
        f"{line.pairs['route']}: {line.pairs['end']} by {line.pairs['by']}"
        for line in ends
        if line.pairs["end"] != "finished"
    )
    report.check(
        "every record says that the session finished",
        not bad and not proxy.log.since(0, "warning", "access records were lost"),
        f"{len(ends)} of {len(ends)}" if not bad else f"{dict(bad)}",
    )
    # Who served whom; another client may have had the same port before or later.
    served: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for line in ends:
        key = (line.pairs["client"], line.pairs["listener"])
        served.setdefault(key, set()).add((line.pairs["route"], line.pairs["endpoint"]))
    known = {key: served[key] for key in findings.probes if key in served}
    odd = [
        f"{seen} instead of {findings.probes[key]}"
        for key, seen in known.items()
        if not any(
            route == findings.probes[key][0] and endpoint in findings.probes[key][1]
            for route, endpoint in seen
        )
    ]
    report.check(
        "each probe was served by an endpoint that its route then had",
        not odd and len(known) == len(findings.probes),
        f"{len(known)} of {len(findings.probes)}" + (f"; {odd[0]}" if odd else ""),
    )


def measure(report: Report, proxy: Sluice, world: World) -> None:
    """Traffic, reloads, and what is left of them."""
    findings, held = Findings(), Held(world.dice)
    proxy.metrics()  # who asks for them has a thread of its own, from the first time on
    descriptors = warm_up(proxy, world.steady)
    with contextlib.ExitStack() as stack:
        steady = stack.enter_context(traffic(exchange, world.steady, SESSIONS))
        changed = stack.enter_context(traffic(exchange, world.changed, CHANGED_SESSIONS))
        newcomers = stack.enter_context(traffic(come_and_go, world.steady))
        for _ in range(WARM_RELOADS):
            one_reload(proxy, world, findings, held)
        proxy.reload(world.base())
        memory, threads = procfs.pss_bytes(proxy.pid), thread_count(proxy)
        start = time.monotonic()
        for _ in range(RELOADS):
            one_reload(proxy, world, findings, held)
        seconds = time.monotonic() - start
        metrics = proxy.metrics()
        many_signals(proxy, world, findings)
        proxy.reload(world.base())
        growth = procfs.pss_bytes(proxy.pid) - memory
        tallies = {"steady": steady(), "changed": changed(), "newcomers": newcomers()}
        held.close()

    report.check(
        f"{WARM_RELOADS} and {RELOADS} reloads, and {SIGNALS} in a row, did what their files say",
        not findings.wrong,
        f"{findings.reloaded} taken, {findings.refused} refused with the reason, the slowest took "
        f"{findings.slowest * 1e3:.0f} ms; {RELOADS} in {seconds:.1f} s"
        + "".join(f"\n        {one}" for one in findings.wrong[:5]),
    )
    # The return to the first file was one more.
    wanted = {"ok": findings.reloaded + 1, "failed": findings.refused}
    counted = {result: int(metrics("sluice_reloads_total", result=result)) for result in wanted}
    report.check("the metrics have counted them", counted == wanted, f"{counted}")
    for name, what in (
        ("steady", f"{SESSIONS} sessions of an unchanged route: no record lost"),
        ("changed", f"{CHANGED_SESSIONS} sessions of a route that changes: no record lost"),
        ("newcomers", "nobody refused by an unchanged listener"),
    ):
        tally = tallies[name]
        report.check(
            what,
            not tally.wrong and tally.done > RELOADS and tally.slowest < ROUND_SECONDS_MAX,
            f"{tally.done} {'sessions' if name == 'newcomers' else 'records'}, the slowest "
            f"{'' if name == 'newcomers' else 'round '}took {tally.slowest * 1e3:.0f} ms"
            + (f"; {dict(tally.wrong.most_common(3))}" if tally.wrong else ""),
        )
    report.check(
        "sessions of routes that are gone go on",
        not held.lost and held.survived > 0,
        f"{held.survived} messages on them, {len(held.lost)} lost",
    )
    wait_for_ends(proxy)
    judge_records(report, proxy, findings)
    quiet = growth_without_traffic(proxy, world)
    report.check(
        "memory is back",
        growth < GROWTH_BYTES_MAX and quiet < QUIET_GROWTH_BYTES_MAX,
        f"{mib(growth)} more; {mib(quiet)} after {QUIET_RELOADS} more reloads without traffic",
    )
    report.check(
        "threads are those from before",
        thread_count(proxy) == threads,
        f"{threads} -> {thread_count(proxy)}",
    )
    check_descriptors(report, proxy, descriptors)


def growth_without_traffic(proxy: Sluice, world: World) -> int:
    """How many bytes some more reloads take that nobody notices."""
    proxy.reload(world.base())
    before = procfs.pss_bytes(proxy.pid)
    for _ in range(QUIET_RELOADS):
        proxy.reload(world.next())
    proxy.reload(world.base())
    return procfs.pss_bytes(proxy.pid) - before


def wait_for_ends(proxy: Sluice) -> None:
    """Until the last records are written."""
    settle(proxy)
    time.sleep(0.1)


def thread_count(proxy: Sluice) -> int:
    """How many threads the process has."""
    return len(os.listdir(f"/proc/{proxy.pid}/task"))


def run(report: Report, kind: str) -> None:
    """The seed, then everything."""
    if kind != "sluice":
        report.note("only Sluice is asked for this")
        return
    seed = int(os.environ.get("RELOAD_SEED", time.time_ns() % 1_000_000))
    report.note(f"seed {seed} (RELOAD_SEED={seed} repeats it)")
    with endpoint(echo, *HOSTS) as endpoints, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        world = World(random.Random(seed), endpoints[0][1], taken.getsockname()[1])
        with Sluice(world.base()) as proxy:
            measure(report, proxy, world)
