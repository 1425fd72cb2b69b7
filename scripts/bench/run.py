#!/usr/bin/env python3
"""Measures Sluice beside HAProxy, nginx and Envoy, in the same run on the same machine.

`measure` (the default) runs the cases and judges the marks, `calls` counts system calls, `plots`
draws what an earlier run has measured. The proxy has one core, the load and its servers the other.
docs/performance.md says what is measured, and why the figures can be trusted.

Exit codes: 0 all marks hold; 1 one is missed, or (but for QUICK=1) not proven; 64 `--add` to a file
that was measured in other circumstances; 69 something that is needed is not there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# The folder above instead of this one: the package's modules are found as bench.NAME and hide none
# of Python's own.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench import calls, cases, document, peers, plots, report  # noqa: E402
from bench.laboratory import (  # noqa: E402
    STOLEN_SHARE_MAX,
    Cores,
    Laboratory,
    LoadFailed,
    build_load,
    busy_share,
    commit,
    machine,
)
from bench.marks import HOLDS, MISSED  # noqa: E402
from bench.results import SUBJECT, Result  # noqa: E402
from bench.rounds import Disturbances  # noqa: E402
from lab import envoy, network, proxies  # noqa: E402

ROUNDS, QUICK_ROUNDS = 12, 6
FILE = proxies.ROOT / ".build-bench/bench.json"
USAGE, UNAVAILABLE = 64, 69
# What the file has once for all of its cases.
CIRCUMSTANCES = ("commit", "machine", "network", "user", "access_log", "quick")
BUSY_SHARE_MAX = 0.05
FAILURES = (LoadFailed, proxies.ProxyFailed, OSError, subprocess.SubprocessError)


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    quick = os.environ.get("QUICK", "") not in ("", "0")
    parser.add_argument("what", nargs="?", choices=("measure", "calls", "plots"), default="measure")
    parser.add_argument("--proxies", default=",".join(proxies.KINDS), metavar="KIND,...")
    parser.add_argument("--subject", default=SUBJECT, help="whose figures are judged")
    parser.add_argument("--case", action="append", help="only cases whose name begins so")
    parser.add_argument("--list", action="store_true", help="the names of all cases")
    parser.add_argument("--rounds", type=int, default=QUICK_ROUNDS if quick else ROUNDS)
    parser.add_argument("--access-log", choices=("on", "off"), default="on")
    parser.add_argument("--network", choices=("own", "host"), default="own")
    parser.add_argument("--user", choices=("unprivileged", "same"), default="unprivileged")
    parser.add_argument("--json", type=Path, default=FILE, metavar="FILE", help="all figures")
    parser.add_argument("--add", action="store_true", help="to those that the file has already")
    parser.add_argument("--plots", action="store_true", help="also plots and docs/performance.md")
    arguments = parser.parse_args()
    arguments.is_quick = quick
    arguments.proxies = arguments.proxies.split(",")
    if unknown := set(arguments.proxies) - set(proxies.KINDS):
        parser.error(f"no such proxy: {', '.join(sorted(unknown))}")
    return arguments


def present(kinds: Sequence[str]) -> list[str]:
    """Those that are there; a missing one is said to be missing."""
    found = []
    for kind in kinds:
        reason = envoy.install(proxies.ROOT) if kind == "envoy" else None
        if proxies.binary_of(kind) is None:
            reason = reason or "make it, or scripts/install.sh bench"
            print(f"{kind}: MISSING ({reason}); nothing is compared with it")
        else:
            print(f"{kind}: {peers.version_of(kind)}")
            found.append(kind)
    return found


def needed() -> str | None:
    """What this needs and the machine does not have, in words."""
    if len(os.sched_getaffinity(0)) < 2:
        return "needs two cores, one for the proxy and one for the load"
    for program in ("taskset", "setpriv", "swift"):
        if shutil.which(program) is None:
            return f"{program} is not there"
    return None


def measured(
    arguments: argparse.Namespace,
    lab: Laboratory,
    kinds: list[str],
    circumstances: Mapping[str, object],
) -> tuple[list[Result], bool]:
    """All chosen cases, told and stored as they come, and whether all came to their end."""
    results = []
    is_whole = True
    started = time.monotonic()
    chosen = cases.chosen(arguments.case, arguments.is_quick)
    if arguments.is_quick:
        left_out = [case.name for case in cases.ALL if case not in chosen]
        print(f"quick: {arguments.rounds} short rounds; left out: {'; '.join(left_out)}")
    for number, case in enumerate(chosen, 1):
        lab.position = f"[{number}/{len(chosen)}, {time.monotonic() - started:.0f} s]"
        lab.disturbances = Disturbances()
        try:
            result = case.run(lab, kinds, arguments.rounds)
        except FAILURES as error:  # the other cases still tell something
            lab.progress("")
            print(f"\n{case.name}: FAILED, {error}", flush=True)
            is_whole = False
            continue
        if words := lab.disturbances.words(STOLEN_SHARE_MAX):
            result.notes.append(words)
        lab.progress("")
        print(report.text(result, arguments.subject), flush=True)
        results.append(result)
        store(arguments, {**circumstances, "cases": [result.as_json(arguments.subject)]})
        arguments.add = True  # to what this run has stored so far
    return results, is_whole


def stored(file: Path) -> dict[str, object]:
    """What the file has, if it is there."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Why cases of these circumstances cannot stand in one file, which says them once for all. Of
    the versions those are compared that both have."""
    if not old.get("cases"):
        return []
    pairs = [(key, old.get(key), new[key]) for key in CIRCUMSTANCES]
    versions: Mapping[str, str] = old.get("versions", {})
    pairs += [
        (kind, versions[kind], version)
        for kind, version in new["versions"].items()
        if kind in versions
    ]
    found = [f"{what}: {then}, now {now}" for what, then, now in pairs if then != now]
    if old.get("commit") == new["commit"] and str(new["commit"]).endswith("-dirty"):
        found.append(f"commit: {new['commit']} may have other changes now than it had then")
    return found


def store(arguments: argparse.Namespace, new: Mapping[str, object]) -> None:
    """Writes the file: what is new, in place of what it had of the same, or of all."""
    file: Path = arguments.json
    old = stored(file) if arguments.add else {}
    by_name = {case["name"]: case for case in old.get("cases", [])}
    by_name.update({case["name"]: case for case in new.get("cases", [])})
    order = {case.name: index for index, case in enumerate(cases.ALL)}
    ordered = sorted(by_name.values(), key=lambda case: order.get(case["name"], len(order)))
    whole = {**old, **new, "cases": ordered}
    if "versions" in whole:
        whole["versions"] = {**old.get("versions", {}), **new.get("versions", {})}
    if "others" in whole:
        whole["others"] = max(old.get("others", 0.0), new.get("others", 0.0))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def draw(whole: Mapping[str, object]) -> None:
    """Plots, and the generated part of the document."""
    for path in [*plots.write(whole, proxies.ROOT), document.write(whole, proxies.ROOT)]:
        print(f"written: {path}")


def verdict_code(results: Sequence[Result], arguments: argparse.Namespace) -> int:
    """Counts the marks and says what came of them."""
    outcomes = [
        (result, verdict) for result in results for verdict in result.verdicts(arguments.subject)
    ]
    bad = [pair for pair in outcomes if pair[1].outcome != HOLDS]
    print(f"\n{len(outcomes) - len(bad)} of {len(outcomes)} marks hold")
    for result, verdict in bad:
        print(f"  {result.name}: {report.verdict_words(result, verdict)}")
    if arguments.is_quick:
        bad = [pair for pair in bad if pair[1].outcome == MISSED]
    return 1 if bad else 0


def main() -> int:
    arguments = parsed_arguments()
    if arguments.list:
        for case in cases.ALL:
            print(f"{case.name}{'  (quick)' if case.is_quick else ''}")
        return 0
    if arguments.what == "plots":
        draw(json.loads(arguments.json.read_text(encoding="utf-8")))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started is ended
    started = time.monotonic()
    if reason := needed():
        print(f"bench: {reason}", file=sys.stderr)
        return UNAVAILABLE
    if arguments.what == "calls" and (reason := calls.unavailable()):
        print(f"bench: {reason}", file=sys.stderr)
        return UNAVAILABLE
    proxies.raise_descriptor_limit()
    kinds = present(arguments.proxies)
    if not kinds:
        return UNAVAILABLE
    load = build_load()
    where = network.isolate() if arguments.network == "own" else network.congestion()
    unprivileged = arguments.user == "unprivileged" and os.geteuid() == 0
    user = "each proxy as a user of its own without privileges" if unprivileged else "this user"
    cores = Cores.of_this_machine()
    print(f"network: {where}; {user}; proxy on core {cores.proxy}, load on {cores.load}")
    others = busy_share(cores.all)
    if others > BUSY_SHARE_MAX:
        print(f"WARNING: others take {others:.0%} of these cores now; do not trust the figures")
    # This program polls, too: never on the proxy's core.
    os.sched_setaffinity(0, {cores.load})
    new: dict[str, object] = {
        "machine": machine(cores),
        "commit": commit(),
        "versions": {kind: peers.version_of(kind) for kind in kinds},
        "network": where,
        "user": user,
        "access_log": arguments.access_log,
        "quick": arguments.is_quick,
        "others": round(others, 3),
    }
    if arguments.add and (unlike := differences(stored(arguments.json), new)):
        print(
            f"bench: {arguments.json} was measured in other circumstances, so that nothing can be "
            f"added to it ({'; '.join(unlike)})",
            file=sys.stderr,
        )
        return USAGE
    results: list[Result] = []
    is_whole = True
    with Laboratory(
        load,
        cores,
        is_quick=arguments.is_quick,
        access_log=arguments.access_log == "on",
        unprivileged=unprivileged,
    ) as lab:
        if arguments.what == "calls":
            counts = calls.counted(lab, kinds)
            lab.progress("")
            for unit, name, total, each in calls.lines(counts):
                print(f"{unit}: {name:<22} {total:>9}: {each}")
            arguments.add = True  # to the cases, whose circumstances are their own
            store(arguments, {"calls": counts})
        else:
            results, is_whole = measured(arguments, lab, kinds, new)
    print(f"\nwritten: {arguments.json}")
    if arguments.plots:
        draw(json.loads(arguments.json.read_text(encoding="utf-8")))
    print(f"{time.monotonic() - started:.0f} s")
    if arguments.what == "calls":
        return 0
    code = verdict_code(results, arguments)
    return code if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
