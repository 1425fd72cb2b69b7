"""Rounds mix, what disturbs is counted, results survive the file and stand beside their like only,
and strace's table is read right."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import unittest
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from bench import calls, document, report, rounds
from bench.cases.case import TRIAL_ROUNDS, contenders, tried
from bench.cases.program import Program
from bench.laboratory import ATTEMPTS_MAX, Cores, Laboratory, LoadFailed, Target
from bench.marks import ITSELF, Mark
from bench.peers import Contender, usual
from bench.results import PER_OPERATION, RATE, Figure, Result
from bench.rounds import Disturbances, alternating
from bench.run import differences, store

STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 50.00    0.010000           5      2000           sendto
 30.00    0.006000           3      4000      2000 recvfrom
 20.00    0.004000          10       400           epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.020000           3      6400      2000 total
"""


class Rounds(unittest.TestCase):
    names = ("sluice", "haproxy", "nginx", "envoy", "floor")

    def orders(self, count: int) -> list[list[str]]:
        orders: list[list[str]] = [[] for _ in range(count)]
        for index, name in alternating(self.names, count):
            orders[index].append(name)
        return orders

    def test_everybody_once_and_each_first_as_often(self) -> None:
        orders = self.orders(12)
        for order in orders:
            self.assertEqual(sorted(order), sorted(self.names))
        firsts = Counter(order[0] for order in orders)
        self.assertEqual({firsts[name] for name in self.names}, {2, 3})

    def test_nobody_is_always_behind_the_same(self) -> None:
        seen = [name for order in self.orders(100) for name in order]
        for name in self.names:
            before = Counter(then for then, now in zip(seen, seen[1:]) if now == name)
            for other in set(self.names) - {name}:
                self.assertGreater(before[other], 10, (name, other))

    def test_every_run_has_the_same_orders(self) -> None:
        self.assertEqual(self.orders(12), self.orders(12))

    def test_cores(self) -> None:
        two, five = Cores((0, 1)), Cores((0, 1, 2, 3, 4))
        self.assertEqual((two.proxy, two.load, two.servers), (0, 1, 1))
        self.assertEqual(two.of_workers(2), "0,1")
        self.assertEqual((five.proxy, five.load, five.servers), (0, 1, 2))
        self.assertEqual(five.of_workers(2), "0,3")
        self.assertEqual(five.of_workers(1), "0")


class Disturbed(unittest.TestCase):
    def laboratory(self, stolen: list[bool]) -> tuple[Laboratory, Iterator[int]]:
        """One in which a hypervisor takes the cores during these runs, and what runs come to."""
        lab = Laboratory(
            Path("load"), Cores((0, 1)), is_quick=False, access_log=False, unprivileged=False
        )
        total = 0.0
        seconds = []
        for is_disturbed in stolen:
            seconds.append(total)
            total += 1e3 if is_disturbed else 0.0
            seconds.append(total)
        patch = mock.patch("bench.laboratory.procfs.stolen_seconds", side_effect=seconds)
        patch.start()
        self.addCleanup(patch.stop)
        return lab, iter(range(len(stolen)))

    def test_repeats_and_what_is_kept_are_not_the_same(self) -> None:
        lab, runs = self.laboratory([False, True, False, *[True] * ATTEMPTS_MAX])
        outcomes = [lab.figures(lambda: next(runs)) for _ in range(3)]
        self.assertEqual(outcomes, [0, 2, 5])
        self.assertEqual(lab.disturbances, Disturbances(figures=3, repeated=3, kept=1))
        self.assertEqual(
            lab.disturbances.words(0.05),
            "repeated, since others had more than 5% of the cores: 3 runs; "
            "kept although disturbed: 1 of 3",
        )

    def test_only_figures_count(self) -> None:
        lab, runs = self.laboratory([True, False])
        self.assertEqual(lab.undisturbed(lambda: next(runs)), 1)
        self.assertEqual(lab.disturbances, Disturbances())
        self.assertIsNone(Disturbances(figures=12).words(0.05))

    def test_one_that_does_not_rest_has_no_cost(self) -> None:
        lab, _ = self.laboratory([])
        busy = iter(range(1_000_000))
        with (
            mock.patch.object(lab, "run_load", return_value={"operations": 1.0}),
            mock.patch.object(rounds, "SETTLE_SECONDS_MAX", 0.1),
            mock.patch.object(rounds.procfs, "cpu_seconds", lambda _: float(next(busy))),
            mock.patch.object(rounds.procfs, "cpu_split", return_value=(0.0, 0.0)),
        ):
            with self.assertRaisesRegex(LoadFailed, "still busy"):
                lab.measure(Target(1, []), ["pingpong"], 0.1)
            lab.measure(Target(1, []), ["pingpong"], 0.1, settle=False)


class Trials(unittest.TestCase):
    def test_best_by_the_figure_is_chosen_and_told(self) -> None:
        latencies = {"splice off": 30.0, "splice auto": 20.0, "splice forced": 40.0}
        started: list[str] = []

        @contextlib.contextmanager
        def start(one: Contender) -> Iterator[str]:
            started.append(one.label)
            yield one.label

        def measure(place: str, seconds: float) -> dict[str, float]:
            return {"p99_us": latencies[place]}

        lab = mock.Mock(is_quick=False, undisturbed=lambda run: run())
        result = Result("a case", "about it", ())
        found = contenders(["sluice", "haproxy"])
        chosen = tried(lab, found, result, start, measure, is_bulk=True, figure="p99_us")
        self.assertEqual([one.label for one in chosen], ["", "splice auto"])
        self.assertEqual(started, list(latencies) * TRIAL_ROUNDS)
        self.assertIn("splice forced 40", result.settings["haproxy"])

    def test_what_is_usual(self) -> None:
        bulk = [usual(one, is_bulk=True).changes for one in contenders(["haproxy", "nginx"])]
        self.assertEqual(bulk, [{"splice": "forced"}, {"buffer": 262_144}])
        small = [usual(one, is_bulk=False).changes for one in contenders(["haproxy", "nginx"])]
        self.assertEqual(small, [{"splice": "off"}, {}])
        self.assertEqual(
            usual(Contender("envoy", "envoy"), is_bulk=True).changes, {"buffer": 1_048_576}
        )


class Results(unittest.TestCase):
    def result(self) -> Result:
        result = Result("a case", "about it", (PER_OPERATION, RATE), (Mark("cost", 0.9),), ["peer"])
        for value in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5):
            result.add("sluice", {"cost": value, "rate": 10.0})
            result.add("peer", {"cost": 2 * value, "rate": 5.0})
        return result

    def test_come_back_from_the_file(self) -> None:
        result = self.result()
        again = Result.of_json(json.loads(json.dumps(result.as_json())))
        self.assertEqual(again, result)

    def test_are_told(self) -> None:
        text = report.text(self.result())
        self.assertIn("CPU at most 0.9 of best peer: 0.50 (peer), 0.50–0.50 (97 %)", text)
        self.assertIn("HOLDS", text)

    def test_each_interval_says_how_sure_it_is(self) -> None:
        few = Result("few rounds", "", (), (Mark("memory", 256, against=ITSELF, exact=True),))
        for value in (128.0, 129.0, 130.0):
            few.add("sluice", {"memory": value})
        cases = [one.as_json() for one in (self.result(), few)]
        text = document.generated({**CIRCUMSTANCES, "cases": cases}, Path("/nowhere"))
        self.assertIn("| found | interval |", text)
        self.assertIn("| 0.50–0.50 (97 %) |", text)
        self.assertIn("| 128.00–130.00 (75 %) |", text)

    def test_date_is_that_of_all_cases(self) -> None:
        cases = [self.result().as_json() for _ in range(2)]
        for hour, case in zip(("10", "12"), cases):
            case["date"] = f"2026-07-01T{hour}:00:00+00:00"
        several = document.generated({**CIRCUMSTANCES, "cases": cases}, Path("/nowhere"))
        one = document.generated({**CIRCUMSTANCES, "cases": cases[:1]}, Path("/nowhere"))
        self.assertIn("2026-07-01T10:00:00+00:00 – 2026-07-01T12:00:00+00:00", several)
        self.assertIn("| date | 2026-07-01T10:00:00+00:00 |", one)


CIRCUMSTANCES = {
    "machine": {"processor": "one", "cores": "2"},
    "commit": "1234567",
    "versions": {"sluice": "0.1.0", "haproxy": "2.6.12"},
    "network": "a namespace of its own",
    "user": "each its own",
    "access_log": "on",
    "quick": False,
    "others": 0.02,
}


class Adding(unittest.TestCase):
    old = {**CIRCUMSTANCES, "cases": [{"name": "pick"}]}

    def test_like_to_like(self) -> None:
        self.assertEqual(differences(self.old, CIRCUMSTANCES), [])
        self.assertEqual(differences({}, CIRCUMSTANCES), [])
        fewer = {**CIRCUMSTANCES, "versions": {"sluice": "0.1.0", "nginx": "1.22.1"}}
        self.assertEqual(differences(self.old, fewer), [])
        busier = {**CIRCUMSTANCES, "others": 0.04}
        self.assertEqual(differences(self.old, busier), [])

    def test_unlike_is_refused(self) -> None:
        for key, value in (
            ("commit", "7654321"),
            ("commit", "1234567-dirty"),
            ("machine", {"processor": "another", "cores": "2"}),
            ("versions", {"sluice": "0.1.0", "haproxy": "3.0.0"}),
            ("quick", True),
        ):
            found = differences(self.old, {**CIRCUMSTANCES, key: value})
            self.assertEqual(len(found), 1, key)

    def test_changes_on_top_of_a_commit_are_never_the_same(self) -> None:
        dirty = {"commit": "1234567-dirty"}
        found = differences({**self.old, **dirty}, {**CIRCUMSTANCES, **dirty})
        self.assertEqual(len(found), 1)

    def test_file_keeps_what_it_had(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "bench.json"
            file.write_text(json.dumps(self.old), encoding="utf-8")
            arguments = argparse.Namespace(json=file, add=True)
            new = {**CIRCUMSTANCES, "versions": {"sluice": "0.1.0"}, "others": 0.01}
            store(arguments, {**new, "cases": [{"name": "ping-pong 64 B x1"}]})
            whole = json.loads(file.read_text(encoding="utf-8"))
        self.assertEqual([case["name"] for case in whole["cases"]], ["ping-pong 64 B x1", "pick"])
        self.assertEqual(whole["versions"], CIRCUMSTANCES["versions"])
        self.assertEqual(whole["others"], 0.02)


class Programs(unittest.TestCase):
    def test_what_it_prints_becomes_the_table(self) -> None:
        answer = '{"round_robin x10": {"ns": 12.5}, "maglev x10": {"ns": 7}}'
        figures = (Figure("ns", "per pick", "ns", 1),)
        core = min(os.sched_getaffinity(0))
        lab = mock.Mock(is_quick=False, cores=Cores((core, core)))
        program = Program("pick", "what a pick costs", "/bin/echo", figures, (answer,))
        result = program.run(lab, ["sluice"], rounds=2)
        self.assertEqual(result.series["round_robin x10"], {"ns": [12.5, 12.5]})
        self.assertEqual(result.series["maglev x10"], {"ns": [7, 7]})
        self.assertIn("12.5", report.text(result))


class Calls(unittest.TestCase):
    def test_table(self) -> None:
        found = calls.parsed(STRACE)
        self.assertEqual(found, {"sendto": 2000, "recvfrom": 4000, "epoll_wait": 400})


if __name__ == "__main__":
    unittest.main()
