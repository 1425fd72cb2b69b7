#!/usr/bin/env python3
"""Runs acceptance subjects against a built proxy: `run.py [--proxy KIND] [NAME...]`; default: all.

Each subject prints its figures with PASS or FAIL; the last line is `N passed, M failed`.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import Report  # noqa: E402  (needs the path above)
from lab import proxies  # noqa: E402

SUBJECTS = (
    "startup",
    "transfer",
    "half_close",
    "reset",
    "ends",
    "end_cases",
    "limits",
    "failover",
    "checks",
    "hold",
    "queue_order",
    "resolve",
    "reload",
    "spread",
    "stalled",
    "log_stall",
    "idle",
    "churn",
    "chaos",
)
SUBJECT_SECONDS_MAX = 180
# Subjects whose cases wait for long.
LONG_SUBJECTS_SECONDS_MAX = {"ends": 360, "end_cases": 300}


def out_of_time(_signal: int, _frame: object) -> None:
    raise TimeoutError("the subject took too long")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxy", choices=proxies.KINDS, default="sluice")
    parser.add_argument("subjects", nargs="*", metavar="NAME", help=", ".join(SUBJECTS))
    arguments = parser.parse_args()
    unknown = set(arguments.subjects) - set(SUBJECTS)
    if unknown:
        parser.error(f"no such subject: {', '.join(sorted(unknown))}")

    proxies.raise_descriptor_limit()
    signal.signal(signal.SIGALRM, out_of_time)
    report = Report()
    for name in arguments.subjects or SUBJECTS:
        subject = importlib.import_module(name)
        start = time.monotonic()
        print(f"{name}: {(subject.__doc__ or '').splitlines()[0]}", flush=True)
        signal.alarm(LONG_SUBJECTS_SECONDS_MAX.get(name, SUBJECT_SECONDS_MAX))
        try:
            subject.run(report, arguments.proxy)
        except Exception as error:  # whatever it is, the other subjects still run
            report.check(name, False, f"{type(error).__name__}: {error}")
            if not isinstance(error, (proxies.ProxyFailed, OSError)):
                traceback.print_exc()
        finally:
            signal.alarm(0)
        report.note(f"{time.monotonic() - start:.1f} s")
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
