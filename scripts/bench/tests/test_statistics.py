"""The intervals cover what they promise, and marks are judged by them alone."""

from __future__ import annotations

import random
import statistics as reference
import unittest

from bench.marks import BEST, HOLDS, ITSELF, MISSED, MISSING, OPEN, Mark, judged
from bench.statistics import coverage, median_interval, paired_ratios


class Intervals(unittest.TestCase):
    def test_known_probabilities(self) -> None:
        # By hand: with n values the range misses the median if all lie on one side of it.
        self.assertAlmostEqual(coverage(5, 0), 1 - 2 / 32)
        self.assertAlmostEqual(coverage(6, 0), 1 - 2 / 64)
        self.assertAlmostEqual(coverage(9, 1), 1 - 2 * (1 + 9) / 512)
        self.assertAlmostEqual(coverage(10, 1), 1 - 2 * (1 + 10) / 1024)
        self.assertEqual(coverage(1, 0), 0)

    def test_which_values_enclose_the_median(self) -> None:
        for count, below in ((6, 0), (8, 0), (9, 1), (11, 1), (12, 2), (15, 3), (20, 5)):
            values = list(range(count))
            random.Random(count).shuffle(values)
            interval = median_interval(values)
            self.assertEqual((interval.low, interval.high), (below, count - 1 - below), count)
            self.assertGreaterEqual(interval.coverage, 0.95)
            self.assertTrue(interval.is_confident)

    def test_too_few_values_say_so(self) -> None:
        for count in (1, 2, 3, 4, 5):
            interval = median_interval([float(value) for value in range(count)])
            self.assertEqual((interval.low, interval.high), (0, count - 1))
            self.assertFalse(interval.is_confident)

    def test_no_values(self) -> None:
        with self.assertRaises(ValueError):
            median_interval([])

    def test_covers_as_often_as_promised(self) -> None:
        # A skewed distribution, where an interval made of mean and deviation would fail.
        walk = random.Random(4711)
        for count in (6, 9, 13):
            trials = 4_000
            hits = 0
            for _ in range(trials):
                values = [walk.lognormvariate(0, 1.5) for _ in range(count)]
                interval = median_interval(values)
                hits += interval.low <= 1 <= interval.high
            promised = median_interval(list(range(count))).coverage
            # Four standard deviations of the share that is counted here.
            allowed = 4 * (promised * (1 - promised) / trials) ** 0.5
            self.assertAlmostEqual(hits / trials, promised, delta=allowed)

    def test_median_is_the_usual_one(self) -> None:
        walk = random.Random(1)
        for count in range(1, 12):
            values = [walk.random() for _ in range(count)]
            self.assertEqual(median_interval(values).median, reference.median(values))

    def test_order_does_not_matter(self) -> None:
        values = [5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 7.0]
        self.assertEqual(median_interval(values), median_interval(sorted(values)))


class Ratios(unittest.TestCase):
    def test_are_made_within_rounds(self) -> None:
        # The machine was three times as slow in the last round: it does not show in the ratios.
        self.assertEqual(paired_ratios([1, 2, 6], [2, 4, 12]), [0.5, 0.5, 0.5])

    def test_unequal_rounds_are_refused(self) -> None:
        with self.assertRaises(ValueError):
            paired_ratios([1, 2], [1])


class Marks(unittest.TestCase):
    def outcome(self, mark: Mark, own: list[float], **others: list[float]) -> tuple[str, str]:
        series = {name: {mark.figure: values} for name, values in others.items()}
        series["sluice"] = {mark.figure: own}
        peers = [name for name in others if name != "floor"]
        verdict = judged(mark, series, "sluice", peers, lower_is_better=not mark.at_least)
        return verdict.outcome, verdict.against

    def test_whole_interval_must_be_below(self) -> None:
        ones = [1.0] * 6
        mark = Mark("cost", 0.9)
        good = [0.80, 0.82, 0.81, 0.85, 0.84, 0.89]
        self.assertEqual(self.outcome(mark, good, peer=ones), (HOLDS, "peer"))
        # The median is below, one round is not: not proven.
        self.assertEqual(self.outcome(mark, [*good[:5], 0.91], peer=ones)[0], OPEN)
        self.assertEqual(self.outcome(mark, [value + 0.2 for value in good], peer=ones)[0], MISSED)

    def test_few_rounds_prove_nothing(self) -> None:
        mark = Mark("cost", 0.9)
        self.assertEqual(self.outcome(mark, [0.1] * 5, peer=[1.0] * 5)[0], OPEN)
        exact = Mark("memory", 256, against=ITSELF, exact=True)
        self.assertEqual(self.outcome(exact, [128.0])[0], HOLDS)
        self.assertEqual(self.outcome(exact, [128.0, 300.0])[0], OPEN)

    def test_best_peer_is_the_best_by_this_figure(self) -> None:
        mark = Mark("cost", 1.0, against=BEST)
        found = self.outcome(mark, [1.0] * 6, slow=[3.0] * 6, quick=[2.0] * 6, floor=[0.5] * 6)
        self.assertEqual(found, (HOLDS, "quick"))
        rate = Mark("rate", 1.3, at_least=True)
        found = self.outcome(rate, [14.0] * 6, slow=[5.0] * 6, quick=[10.0] * 6)
        self.assertEqual(found, (HOLDS, "quick"))
        self.assertEqual(self.outcome(rate, [12.0] * 6, quick=[10.0] * 6)[0], MISSED)

    def test_missing_peer_is_not_a_pass(self) -> None:
        self.assertEqual(self.outcome(Mark("cost", 1.0), [1.0] * 6)[0], MISSING)
        self.assertEqual(self.outcome(Mark("cost", 1.0, against="envoy"), [1.0] * 6)[0], MISSING)


if __name__ == "__main__":
    unittest.main()
