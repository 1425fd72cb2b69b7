"""A configuration file that changes at random, into others that are right or wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from harness import Address, text
from lab.proxies import free_port

HOSTS = tuple(f"127.0.0.{index}" for index in range(1, 7))
OPTIONAL_ROUTES = 6
UPSTREAMS = 4


@dataclass
class World:
    """What stands in the file, and the dice that change it."""

    dice: random.Random
    endpoint_port: int
    taken_port: int
    steady: Address = field(default_factory=lambda: ("127.0.0.1", free_port()))
    changed: Address = field(default_factory=lambda: ("127.0.0.1", free_port()))
    ports: list[int] = field(
        default_factory=lambda: [free_port() for _ in range(2 * OPTIONAL_ROUTES)]
    )
    # Of each upstream: which hosts, and their weights.
    upstreams: dict[str, dict[str, int]] = field(default_factory=dict)
    # Of each route that is there: its upstream, and its listening ports.
    routes: dict[str, tuple[str, list[int]]] = field(default_factory=dict)

    def base(self) -> str:
        """The file that everything begins and ends with."""
        self.upstreams = {"u0": {HOSTS[0]: 1}}
        self.routes = {"changed": ("u0", [self.changed[1]])}
        return self._text(lambda: "")

    def next(self) -> str:
        """Another file."""
        dice = self.dice
        self.upstreams = {
            f"u{number}": {
                host: dice.choice((0, 1, 1, 1, 2, 5))
                for host in dice.sample(HOSTS, dice.randint(1, len(HOSTS)))
            }
            for number in range(UPSTREAMS)
        }
        for weights in self.upstreams.values():
            if not any(weights.values()):
                weights[next(iter(weights))] = 1
        self.routes = {"changed": (self._upstream(), [self.changed[1]])}
        for number in range(OPTIONAL_ROUTES):
            if dice.random() < 0.6:
                first = self.ports[2 * number]
                second = [self.ports[2 * number + 1]] if dice.random() < 0.4 else []
                # A listener that moves to another route has to keep on listening.
                name = f"o{number}" if dice.random() < 0.8 else f"p{number}"
                self.routes[name] = (self._upstream(), [first, *second])
        return self._text(self._settings)

    def wrong(self) -> tuple[str, str]:
        """A file that cannot be taken, and a word that its refusal must have. Nothing is
        changed."""
        before = dict(self.upstreams), dict(self.routes)
        file = self.next()
        self.upstreams, self.routes = before
        return self.dice.choice(
            (
                (file + "surprise: 1\n", "surprise"),
                (file.replace("to: u", "to: nowhere-u", 1), "nowhere"),
                (file + "  broken: [1\n", "configuration:"),
                (
                    file.replace(
                        "routes:\n",
                        f'routes:\n  taken: {{listen: "127.0.0.1:{self.taken_port}", to: u0}}\n',
                    ),
                    str(self.taken_port),
                ),
            )
        )

    def servers(self, route: str) -> set[str]:
        """The endpoints that may serve a route."""
        upstream, _ = self.routes[route]
        weights = self.upstreams[upstream]
        return {f"{host}:{self.endpoint_port}" for host, weight in weights.items() if weight > 0}

    def _upstream(self) -> str:
        return self.dice.choice(sorted(self.upstreams))

    def _settings(self) -> str:
        dice = self.dice
        settings = [
            f"idle: {dice.choice(('off', '30s', '5m'))}",
            f"half_close_timeout: {dice.choice(('10s', '1m', 'off'))}",
            f"max_sessions: {dice.choice((500, 1_000, 10_000))}",
            f"backlog: {dice.choice((256, 4_096))}",
            f"tcp: {{keepalive: {dice.choice(('30s', '60s'))}}}",
        ]
        return "".join(f", {one}" for one in settings if dice.random() < 0.5)

    def _text(self, settings: Callable[[], str]) -> str:
        lines = [
            "workers: 2",
            "log: {access: stdout, queue: 65536}",
            "shutdown: {drain: 2s}",
            "routes:",
            f'  steady: {{listen: "{text(self.steady)}", to: steady}}',
        ]
        for name, (upstream, ports) in self.routes.items():
            listen = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
            lines.append(f"  {name}: {{listen: [{listen}], to: {upstream}{settings()}}}")
        lines += ["upstreams:", "  steady:", "    endpoints:"]
        lines += [f'      - "{host}:{self.endpoint_port}"' for host in HOSTS[:2]]
        for name, weights in self.upstreams.items():
            lines.append(f"  {name}:")
            if settings():
                balance = self.dice.choice(("round_robin", "least_connections"))
                lines.append(f"    balance: {balance}")
                lines.append(f"    connect: {self.dice.choice(('2s', '5s'))}")
            lines.append("    endpoints:")
            for host, weight in weights.items():
                bound = self.dice.choice(("", ", max_sessions: 900", ", priority: 0"))
                address = f'"{host}:{self.endpoint_port}"'
                lines.append(f"      - {{address: {address}, weight: {weight}{bound}}}")
        return "\n".join(lines) + "\n"
