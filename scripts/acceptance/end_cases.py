"""Fourteen ways to end a session that proxies get wrong, and what is right.

The contract behind them is in docs/ends.md. Each case was a fault once; what it did then is in its
comment. Cases run at the same time, each in a process of its own.
"""

from __future__ import annotations

import end_cases_accepting as accepting
import end_cases_connecting as connecting
import end_cases_delivery as delivery
from case_processes import Case, run_cases
from harness import Report

CASES = (
    # Was cut after 60 s, and the record said that all had arrived.
    Case("1 slow reader, every default", delivery.case_1_defaults, is_long=True),
    Case("1 slow reader", delivery.case_1),
    Case("1 slow reader that resets", delivery.case_1_record),
    # Was reset once `idle` had passed.
    Case("2 endless stream, slow reader, idle", delivery.case_2),
    # 12,288 bytes arrived, and then a reset.
    Case("3 one more byte to a side that has closed", delivery.case_3),
    # 135,168 bytes arrived, and then a reset.
    Case("4 a reset after everything was sent", delivery.case_4),
    # The answer was followed by a reset.
    Case("5 one more byte to a unix side that has closed", delivery.case_5),
    # Was reset after 60 s.
    Case("6 a late answer to a side that has finished", delivery.case_6, is_long=True),
    # Was reset after 1.5 s.
    Case("7 a full accept queue", connecting.case_7),
    # Sooner or later the proxy was connected to itself.
    Case("8 a dead port among those for outgoing connections", connecting.case_8),
    # Every endpoint was tried, and one was ejected.
    Case("9 a port scan, and endpoints that reset", connecting.case_9),
    # Stayed for ever.
    Case("10 connected after the verdict, on_down: close", connecting.case_10),
    # Waited for a timer of 450 ms.
    Case("11 the next client at max_sessions", accepting.case_11, alone=True),
    # Clients were accepted and reset as fast as they came.
    Case("12 out of epoll watches", accepting.case_12, alone=True),
    # Every session began at the dead endpoint.
    Case("13 a dead endpoint that refuses", connecting.case_13_refused),
    Case("13 a dead endpoint that is silent", connecting.case_13_black_hole),
    Case("13 a dead endpoint, one attempt", connecting.case_13_no_retry),
    Case("13 ejecting switched off", connecting.case_13_off),
    # Each cost a connection to the endpoint.
    Case("14 reset before they are accepted", accepting.case_14),
    Case("drop_silent_clients", accepting.drop_silent_clients),
    Case("avoid_time_wait", accepting.avoid_time_wait),
)


def run(report: Report, kind: str) -> None:
    """All cases; the other proxies have other configurations."""
    if kind != "sluice":
        report.note("only Sluice is asked for this")
        return
    run_cases(report, CASES)
