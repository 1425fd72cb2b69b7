"""Loads that run as fast as they get answers: ping-pong, connect and close, bulk; and the same in
front of many routes, many endpoints, many idle sessions, spinning workers, several workers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.cases.case import (
    WARM_UP_SECONDS,
    contenders,
    floor,
    floor_words,
    in_front_of,
    peers_of,
    tried,
)
from bench.laboratory import HOSTS, Laboratory, Target
from bench.marks import Mark
from bench.peers import Contender, tuned
from bench.results import (
    BUSY,
    FLOOR,
    P50,
    P99,
    P999,
    PER_GIGABYTE,
    PER_OPERATION,
    PER_SESSION,
    RATE,
    SPEED,
    SUBJECT,
    SYSTEM,
    USER,
    Figure,
    Result,
)
from bench.rounds import alternating
from lab import procfs
from lab.proxies import Route, free_port

IDLE_SESSIONS = 9_000
# From here on checks every other second would be a load of their own.
MANY_ENDPOINTS = 1_000
BUSIEST = Figure("busiest", "busiest worker", "%", 0)


@dataclass(frozen=True)
class Traffic:
    """A load, what serves it, and what is special about the proxy between them.

    `plain` names contenders without that speciality that run beside the others, for `plain_of` one
    kind or all. Closed connections keep their ports for a while: rounds of connecting are short.
    """

    name: str
    about: str
    load: tuple[str, ...]
    server: str = "echo"
    cost: Figure = PER_OPERATION
    seconds: float = 0.5
    marks: tuple[Mark, ...] = ()
    is_quick: bool = False
    idle: int = 0
    routes: int = 1
    endpoints: int = 0
    spin: bool = False
    workers: int = 1
    plain: str = ""
    plain_of: str = SUBJECT
    # Fewer where starting takes longer than measuring.
    rounds_max: int = 1_000

    @property
    def is_bulk(self) -> bool:
        """Whether bytes count, not operations."""
        return self.cost is PER_GIGABYTE

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What is measured of each contender."""
        speed = (SPEED,) if self.is_bulk else (RATE, P50, P99, P999)
        more = (BUSIEST,) if self.workers > 1 else ()
        return (self.cost, USER, SYSTEM, *speed, BUSY, *more)

    def run(self, lab: Laboratory, kinds: Sequence[str], rounds: int) -> Result:
        """All rounds, each with proxies that were started for it."""
        found = [*contenders(kinds), *tuned(kinds, self.is_bulk)]
        result = Result(self.name, self.about, self.figures, self.marks, peers_of(found))
        seconds = lab.duration(self.seconds)

        def measure(target: Target, duration: float) -> dict[str, float]:
            return self.measured(lab, target, duration)

        def trial(one: Contender) -> contextlib.AbstractContextManager[Target]:
            # Idle sessions and many routes would take long, and change nothing in the choice.
            return self.started(lab, one if self.spin else dataclasses.replace(one, is_plain=True))

        figure = "p50_us" if self.spin else "cost"
        found = tried(lab, found, result, trial, measure, is_bulk=self.is_bulk, figure=figure)
        if self.plain:
            found += [
                dataclasses.replace(one, name=f"{one.kind}, {self.plain}", is_plain=True)
                for one in found
                if self.plain_of in (one.kind, "all")
            ]
        result.notes.append(floor_words(self.server))
        by_name = {one.name: one for one in found}
        rounds = min(rounds, self.rounds_max)
        for index, name in alternating([*by_name, FLOOR], rounds):
            lab.progress(f"{self.name}: round {index + 1} of {rounds}, {name}")
            if name == FLOOR:
                start, factor = floor(lab, self.server)
            else:
                start, factor = self.started(lab, by_name[name]), 1.0
            with start as target, in_front_of(name):
                measure(target, WARM_UP_SECONDS)
                sample = lab.figures(lambda: measure(target, seconds))
            sample.update({key: factor * sample[key] for key in ("cost", "user", "system")})
            result.add(name, sample)
        return result

    @contextlib.contextmanager
    def started(self, lab: Laboratory, contender: Contender) -> Iterator[Target]:
        """The contender with all that is special, unless it is a plain one."""
        is_special = not contender.is_plain
        port = free_port()
        with contextlib.ExitStack() as stack:
            if is_special and self.idle:
                # A server of its own, or the open-files limit of one would have to hold them all.
                _, to = stack.enter_context(lab.server(self.server, lab.cores.servers))
            elif self.endpoints:
                address = "0.0.0.0"  # all of 127.0.0.0/8, since a machine has no 10,000 addresses
                _, [any_address] = stack.enter_context(
                    lab.server(self.server, lab.cores.servers, hosts=[address])
                )
                count = self.endpoints if is_special else len(HOSTS)
                server_port = any_address.rpartition(":")[2]
                to = [f"{loopback(index)}:{server_port}" for index in range(count)]
            else:
                to = lab.servers(self.server)
            if is_special and self.routes > 1:
                routes = [
                    Route(f"route-{index}", [f"{loopback(index)}:{port}"], to)
                    for index in range(self.routes)
                ]
            else:
                routes = [Route("main", [f"{host}:{port}" for host in HOSTS], to)]
            is_large = max(self.routes * len(to), self.endpoints) > MANY_ENDPOINTS
            changes = {"check": "1m"} if is_large else {}
            workers = self.workers if is_special else 1
            proxy = stack.enter_context(
                lab.proxy(
                    contender, routes, workers=workers, spin=self.spin and is_special, **changes
                )
            )
            addresses = [address for route in routes for address in route.listen]
            if is_special and self.idle:
                stack.enter_context(lab.held(addresses, self.idle))
            yield Target(proxy.pid, addresses, proxy)

    def measured(self, lab: Laboratory, target: Target, seconds: float) -> dict[str, float]:
        """One run of the load, as figures."""
        threads = procfs.thread_cpu_seconds(target.pid) if self.workers > 1 else {}
        measured, (spent, user, system) = lab.measure(
            target, self.load, seconds, settle=not self.spin
        )
        units = measured["bytes"] / 1e9 if self.is_bulk else measured["operations"]
        scale = 1.0 if self.is_bulk else 1e6
        sample = {
            "cost": spent / units * scale,
            "user": user / units * scale,
            "system": system / units * scale,
            "rate": units / measured["seconds"],
            "busy": spent / measured["seconds"] * 100,
        }
        for key in ("p50_us", "p99_us", "p999_us"):
            if key in measured:
                sample[key] = measured[key]
        if threads:
            after = procfs.thread_cpu_seconds(target.pid)
            shares = sorted(after[key] - threads.get(key, 0.0) for key in after)
            busiest = shares[-self.workers :]
            sample["busiest"] = 100 * busiest[-1] / sum(busiest) if sum(busiest) else 0.0
        return sample


def loopback(index: int) -> str:
    """One of the 16 million addresses of the loopback."""
    return f"127.{1 + index // 62_500}.{index // 250 % 250}.{index % 250 + 1}"


def ping_pong(size: str, count: int, **more: object) -> Traffic:
    """Messages of that size, back and forth on so many connections."""
    number, unit = size.split()
    size_bytes = int(number) * {"B": 1, "KiB": 1024}[unit]
    about = f"messages of {size} and their echoes, one at a time on each of {count} connections"
    fields: dict[str, object] = {
        "name": f"ping-pong {size} x{count}",
        "about": about,
        "load": ("pingpong", "--bytes", str(size_bytes), "--connections", str(count)),
    }
    return Traffic(**{**fields, **more})


def bulk(direction: str, count: int, **more: object) -> Traffic:
    """As many bytes as go through so many sessions."""
    words = {
        "down": ("from the endpoint to the client", "source"),
        "up": ("from the client to the endpoint", "sink"),
        "both": ("both ways at once, counted together", "both"),
    }
    way, server = words[direction]
    return Traffic(
        name=f"bulk {direction} x{count}",
        about=f"as many bytes as go through {count} sessions {way}",
        load=("bulk", "--direction", direction, "--sessions", str(count)),
        server=server,
        cost=PER_GIGABYTE,
        **more,
    )


CONNECT_LOAD = ("connect", "--bytes", "64", "--concurrent", "32")
COST_OF_CONNECT = {"load": CONNECT_LOAD, "cost": PER_SESSION, "seconds": 0.5}
BULK_MARKS = (
    Mark("cost", 0.55, against="envoy"),
    Mark("cost", 0.40, against="haproxy"),
    Mark("cost", 0.40, against="nginx"),
    Mark("rate", 1.3, at_least=True),
)

PING_PONG = (
    ping_pong("64 B", 1),
    ping_pong(
        "64 B",
        1,
        name="ping-pong 64 B x1, spinning",
        about="one connection; Sluice with `spin: 200us`, HAProxy with `busy-polling`, the others "
        "as they are; `no spin` is Sluice without it",
        spin=True,
        plain="no spin",
        marks=(
            Mark("p50_us", 1.0, against="haproxy"),
            Mark("p50_us", 0.5, against="sluice, no spin"),
        ),
    ),
    ping_pong("64 B", 32, is_quick=True, marks=(Mark("cost", 0.97), Mark("p99_us", 1.05))),
    ping_pong("1 KiB", 256, marks=(Mark("cost", 0.95),)),
    ping_pong("4 KiB", 32, marks=(Mark("cost", 0.97),)),
    ping_pong("16 KiB", 16, marks=(Mark("cost", 1.0),)),
)

CONNECT = (
    Traffic(
        name="connect-64 B-close x32",
        about="whole sessions, 32 at a time: connect, 64 B and their echo, close",
        marks=(Mark("cost", 0.90), Mark("p99_us", 1.05)),
        is_quick=True,
        **COST_OF_CONNECT,
    ),
)


def bulk_from_file(direction: str, count: int) -> Traffic:
    """The same, sent by sendfile(2). One way through 4 sessions: the others tell nothing new."""
    case = bulk(direction, count, marks=BULK_MARKS)
    return dataclasses.replace(
        case,
        name=f"{case.name}, from a file",
        about=f"{case.about}; the sender does not copy them",
        load=(*case.load, "--from", "file"),
        server="file-source" if direction == "down" else case.server,
    )


BULK = (
    bulk("down", 4, is_quick=True, marks=BULK_MARKS),
    bulk("up", 4, marks=BULK_MARKS),
    bulk("both", 4),
    bulk("down", 64, marks=BULK_MARKS),
    bulk("up", 64, marks=BULK_MARKS),
    bulk("both", 64),
    bulk_from_file("down", 4),
    bulk_from_file("up", 4),
)

SCALE = (
    ping_pong(
        "64 B",
        32,
        name="32 active among 9,000 idle",
        about="ping-pong 64 B x32 while 9,000 other sessions idle in the same proxy; `alone` is "
        "Sluice without them",
        idle=IDLE_SESSIONS,
        rounds_max=9,
        plain="alone",
        marks=(Mark("cost", 1.05, against="sluice, alone"),),
    ),
    Traffic(
        name="connect-64 B-close x32, 1,000 routes",
        about="the same sessions, spread over 1,000 listening addresses with a route each; `one "
        "route` is Sluice without the others",
        routes=1_000,
        plain="one route",
        **COST_OF_CONNECT,
    ),
    Traffic(
        name="connect-64 B-close x32, 10,000 endpoints",
        about="the same sessions, in turn to 10,000 endpoints of one upstream; `8 endpoints` is "
        "Sluice without the others",
        endpoints=10_000,
        plain="8 endpoints",
        **COST_OF_CONNECT,
    ),
    ping_pong(
        "64 B",
        64,
        name="two workers, ping-pong 64 B x64",
        about="two workers on two cores; `one worker` is the same proxy with one. On a machine of "
        "two cores the load shares them, so that only CPU per operation tells something",
        workers=2,
        plain="one worker",
        plain_of="all",
    ),
)
