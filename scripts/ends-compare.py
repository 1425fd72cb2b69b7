#!/usr/bin/env python3
"""How sessions end through Sluice, HAProxy and nginx: prints where they differ.

Fails where Sluice delivers fewer bytes than the better of the two, where a TCP reader sees an
orderly end of a stream that was cut, and where it sees none of a stream that was complete. Cells in
which the reader does not read for longer than `flush_timeout` are shown and not judged: how long to
wait for such a reader is a setting. `--table` writes the second table of docs/ends.md.

HAProxy runs in `mode tcp` with every timeout at a minute, once with `option splice-*` and once
without; nginx with `proxy_half_close on` and `proxy_timeout 1m`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "acceptance")]

from ends_laboratory import run_matrix  # noqa: E402  (needs the path above)
from ends_matrix import NEVER, Cell, Result, is_false_end  # noqa: E402
from ends_tables import compared_rows, compared_table, table, write  # noqa: E402
from lab import proxies  # noqa: E402

NAMES = {"sluice": "Sluice", "haproxy": "HAProxy", "nginx": "nginx"}


def best_of_others(results: dict[str, list[Result]]) -> dict[Cell, tuple[int, str]]:
    """For each cell the most bytes that one of the others delivered, and which one."""
    best: dict[Cell, tuple[int, str]] = {}
    for kind, some in results.items():
        if kind == "sluice":
            continue
        for result in some:
            if result.received > best.get(result.cell, (-1, ""))[0]:
                best[result.cell] = (result.received, NAMES[kind])
    return best


def faults(results: dict[str, list[Result]]) -> list[str]:
    """What Sluice does worse than the others, or wrong."""
    best = best_of_others(results)
    found = []
    for result in results["sluice"]:
        if result.cell.manner == NEVER:
            continue
        most, whose = best[result.cell]
        if result.received < most:
            found.append(f"{result.cell.text}: {result.figure}; {whose} delivers {most:,} B")
        if is_false_end(result):
            found.append(f"{result.cell.text}: {result.figure}: not how the source ended")
    return found


def versions() -> str:
    """Which programs the others are."""
    found = []
    for kind in ("haproxy", "nginx"):
        said = subprocess.run(
            [str(proxies.binary_of(kind)), "-v"], capture_output=True, text=True, check=True
        )
        number = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
        found.append(f"{NAMES[kind]} {number[0] if number else 'of an unknown version'}")
    return " and ".join(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="write the table of docs/ends.md")
    arguments = parser.parse_args()
    missing = [kind for kind in NAMES if proxies.binary_of(kind) is None]
    if missing:
        print(f"not there: {', '.join(missing)}; scripts/install.sh bench installs the others")
        return 69
    proxies.raise_descriptor_limit()
    results = {kind: [result for _, result in some] for kind, some in run_matrix(*NAMES).items()}
    named = {NAMES[kind]: some for kind, some in results.items()}
    print(table(("one side", "the other side", *named), compared_rows(named)))
    if arguments.table:
        write("compared", f"With {versions()}:\n\n{compared_table(named)}")
    for kind, some in results.items():
        false_ends = sum(is_false_end(result) for result in some)
        short = sum(result.outcome.startswith("a part") for result in some)
        print(f"{NAMES[kind]}: {len(some)} cells, {short} cut short, {false_ends} false ends")
    found = faults(results)
    for fault in found:
        print(f"FAIL  {fault}")
    print(f"{len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
