"""Rounds rotate, results survive the file, and strace's table is read right."""

from __future__ import annotations

import json
import os
import unittest
from unittest import mock

from bench import calls, report
from bench.cases.program import Program
from bench.laboratory import Cores
from bench.marks import Mark
from bench.results import PER_OPERATION, RATE, Figure, Result
from bench.rounds import alternating

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
    def test_everybody_once_and_nobody_always_first(self) -> None:
        names = ["a", "b", "c"]
        seen = [name for _, name in alternating(names, 4)]
        self.assertEqual(seen, list("abcbcacababc"))

    def test_cores(self) -> None:
        two, five = Cores((0, 1)), Cores((0, 1, 2, 3, 4))
        self.assertEqual((two.proxy, two.load, two.servers), (0, 1, 1))
        self.assertEqual(two.of_workers(2), "0,1")
        self.assertEqual((five.proxy, five.load, five.servers), (0, 1, 2))
        self.assertEqual(five.of_workers(2), "0,3")
        self.assertEqual(five.of_workers(1), "0")


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
        self.assertIn("CPU at most 0.9 of best peer: 0.50 (peer)", text)
        self.assertIn("HOLDS", text)


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
