"""The cases, in the order of the report. A new one is a line here, and a file if of a new kind.

A kind is a dataclass that has what `case.Case` asks for. Most are `traffic.Traffic`: a load, and
what is special about the proxy in front of it. A program that measures something by
itself and prints it is `program.Program`.
"""

from __future__ import annotations

from bench.cases import fairness, idle, latency, picking, startup, traffic
from bench.cases.case import Case

ALL: tuple[Case, ...] = (
    *traffic.PING_PONG,
    *traffic.CONNECT,
    *traffic.BULK,
    *latency.CASES,
    *fairness.CASES,
    *idle.CASES,
    *traffic.SCALE,
    *startup.CASES,
    *picking.CASES,
)


def chosen(names: list[str] | None, is_quick: bool) -> list[Case]:
    """Cases of these names, or whose name begins so if there is none of that name; without names
    all, or the quick ones."""
    if not names:
        return [case for case in ALL if case.is_quick or not is_quick]
    whole = {case.name for case in ALL}
    return [
        case
        for case in ALL
        if any(
            case.name == name or (name not in whole and case.name.startswith(name))
            for name in names
        )
    ]
