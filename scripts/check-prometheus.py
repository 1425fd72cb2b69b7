# SPDX-License-Identifier: Apache-2.0
"""Reads metrics in both formats with Prometheus' own Python library, and compares them with each other
and with what alert rules and documentation name.

Usage: check-prometheus.py CLASSIC OPENMETRICS RULES DOCUMENTATION
"""

import re
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as classic


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def samples(parse, path):
    """The samples of a file by name and labels. The parsers say what is wrong, by exceptions."""
    found = {}
    for family in parse(read(path)):
        if not family.documentation:
            sys.exit(f"{family.name} has no help")
        if family.type == "unknown":
            sys.exit(f"{family.name} has no type")
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            if key in found:
                sys.exit(f"{key} stands twice in {path}")
            found[key] = sample.value
    return found


def names(path):
    return set(re.findall(r"\b(?:sluice|process)_[a-z_]+[a-z]\b", read(path)))


def main():
    classic_path, open_path, rules_path, documentation_path = sys.argv[1:]
    first, second = samples(classic, classic_path), samples(open_metrics, open_path)
    for key in first.keys() | second.keys():
        if first.get(key) != second.get(key):
            sys.exit(f"{key}: {first.get(key)} in the classic text, {second.get(key)} in OpenMetrics")
    if not first:
        sys.exit("there are no samples")
    print(f"ok: {len(first)} samples, the same in both formats")

    there_are = {name for name, _ in first}
    if unknown := names(rules_path) - there_are:
        sys.exit(f"{rules_path} names what is no metric: {', '.join(sorted(unknown))}")
    # The documentation has a histogram as one.
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in there_are}
    documented = names(documentation_path)
    if unknown := documented - families:
        sys.exit(f"{documentation_path} names what is no metric: {', '.join(sorted(unknown))}")
    if missing := families - documented:
        sys.exit(f"{documentation_path} lacks {', '.join(sorted(missing))}")
    print(f"ok: rules name metrics that there are, and all {len(families)} are documented")


main()
