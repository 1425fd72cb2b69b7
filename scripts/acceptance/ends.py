#!/usr/bin/env python3
"""Who ends a session how, times what the other side is doing, times sockets, times copy and splice.

As a subject of run.py it checks every cell against the contract in docs/ends.md. As a program,
`ends.py [--proxy KIND] [--table]` runs the cells and prints those that are wrong; `--table` writes
the table of docs/ends.md from what it saw.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ends_laboratory import run_matrix
from ends_matrix import ENDS, MANNERS, Result, is_right
from ends_tables import own_table, write
from harness import Report
from lab import proxies

WRONG_SHOWN = 4


def judge(report: Report, results: list[tuple[bool, Result]]) -> None:
    """A check for each way to end and each manner, over all sockets, sides and modes."""
    for end, manner in itertools.product(ENDS, MANNERS):
        some = [
            (splice, result)
            for splice, result in results
            if (result.cell.end, result.cell.manner) == (end, manner)
        ]
        if not some:
            continue
        wrong = [(splice, result) for splice, result in some if not is_right(result)]
        seen = f"{len(some) - len(wrong)} of {len(some)} right"
        for splice, result in wrong[:WRONG_SHOWN]:
            mode = "splice" if splice else "copy"
            seen += f"\n          {result.cell.text} ({mode}): {result.figure}"
        if len(wrong) > WRONG_SHOWN:
            seen += f"\n          and {len(wrong) - WRONG_SHOWN} more"
        report.check(f"one side {end}, the other {manner}", not wrong, seen)


def run(report: Report, kind: str) -> None:
    """All cells."""
    if kind == "envoy":
        report.note("not asked of Envoy")
        return
    judge(report, run_matrix(kind)[kind])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxy", choices=("sluice", "haproxy", "nginx"), default="sluice")
    parser.add_argument("--table", action="store_true", help="write the table of docs/ends.md")
    arguments = parser.parse_args()
    proxies.raise_descriptor_limit()
    report = Report()
    results = run_matrix(arguments.proxy)[arguments.proxy]
    judge(report, results)
    if arguments.table:
        write("own", own_table([result for _, result in results]))
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
