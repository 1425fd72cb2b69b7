"""What choosing an endpoint costs, without a connection: the work of one pick, and of giving it back."""

from __future__ import annotations

from bench.cases.program import Program
from bench.results import Figure
from lab.proxies import ROOT

CASES = (
    Program(
        "pick",
        "choosing an endpoint and giving it back, by policy, with 10 and with 10,000 endpoints",
        "bench-picks",
        (Figure("ns", "per pick", "ns", 1),),
        package=ROOT,
    ),
)
