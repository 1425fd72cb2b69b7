"""How long a proxy takes from its start until it serves, with a large configuration."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cases.case import contenders, peers_of
from bench.cases.traffic import loopback
from bench.laboratory import Laboratory
from bench.marks import Mark
from bench.peers import Contender
from bench.results import Figure, Result
from bench.rounds import alternating
from lab.proxies import ProxyFailed, Route, free_port

ROUTES = 1_000
ENDPOINTS_EACH = 10
PATIENCE = 30.0
ACCEPTED = Figure("accept_ms", "first accept", "ms", 1)
SERVED = Figure("served_ms", "first echo", "ms", 1)


@dataclass(frozen=True)
class Startup:
    """From starting the process to the first connection that is accepted on the last route, and to
    the first byte that comes back through it. Which comes first is not the same: some accept
    before they can serve."""

    name: str = "start with 1,000 routes"
    is_quick: bool = True

    def run(self, lab: Laboratory, kinds: Sequence[str], rounds: int) -> Result:
        """A start for each round."""
        found = contenders(kinds)
        about = (
            f"from the start of the process to the first accept on the last of {ROUTES:,} routes "
            f"of {ENDPOINTS_EACH} endpoints, and to the first byte that came back"
        )
        marks = (Mark("accept_ms", 1.0),)
        result = Result(self.name, about, (ACCEPTED, SERVED), marks, peers_of(found))
        by_name = {one.name: one for one in found}
        with lab.server("echo", lab.cores.servers, hosts=["0.0.0.0"]) as (_, [address]):
            server_port = address.rpartition(":")[2]
            for name, contender in by_name.items():
                lab.progress(f"{self.name}: warming up, {name}")
                start(lab, contender, server_port)  # programs come from the disk only once
            for index, name in alternating(list(by_name), rounds):
                lab.progress(f"{self.name}: round {index + 1} of {rounds}, {name}")
                result.add(name, start(lab, by_name[name], server_port))
        return result


def start(lab: Laboratory, contender: Contender, server_port: str) -> dict[str, float]:
    """One start, timed."""
    port = free_port()
    routes = [
        Route(
            f"route-{index}",
            [f"{loopback(index)}:{port}"],
            [
                f"{loopback(index * ENDPOINTS_EACH + number)}:{server_port}"
                for number in range(ENDPOINTS_EACH)
            ],
        )
        for index in range(ROUTES)
    ]
    last = (loopback(ROUTES - 1), port)
    with lab.proxy(contender, routes, wait=False, check="1m") as proxy:
        begin = proxy.started_at
        accepted = 0.0
        while True:
            if not proxy.is_alive or time.monotonic() - begin > PATIENCE:
                raise ProxyFailed(f"{contender.name} does not serve\n{proxy.output()}")
            try:
                with socket.create_connection(last, timeout=PATIENCE) as client:
                    accepted = accepted or time.monotonic() - begin
                    client.sendall(b"s")
                    if client.recv(1) == b"s":
                        break
            except OSError:
                time.sleep(0.0002)
        served = time.monotonic() - begin
    return {"accept_ms": accepted * 1e3, "served_ms": served * 1e3}


CASES = (Startup(),)
