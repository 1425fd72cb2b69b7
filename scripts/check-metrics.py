# SPDX-License-Identifier: Apache-2.0
"""Reads metrics in both formats with Prometheus' own Python library, and compares them.

Usage: check-metrics.py CLASSIC OPENMETRICS
"""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as classic


def samples(parse, path):
    """The samples of a file by name and labels. The parsers say what is wrong, by exceptions."""
    with open(path, encoding="utf-8", newline="") as file:
        families = list(parse(file.read()))
    found = {}
    for family in families:
        assert family.documentation, f"{family.name} has no help"
        assert family.type != "unknown", f"{family.name} has no type"
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} stands twice in {path}"
            found[key] = sample.value
    return found


def main():
    first, second = samples(classic, sys.argv[1]), samples(open_metrics, sys.argv[2])
    for key in first.keys() | second.keys():
        if first.get(key) != second.get(key):
            sys.exit(f"{key}: {first.get(key)} in the classic text, {second.get(key)} in OpenMetrics")
    if not first:
        sys.exit("there are no samples")
    print(f"ok: {len(first)} samples, the same in both formats")


main()
