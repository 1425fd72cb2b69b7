#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Proves that others can read the metrics, and that the alerts do what they say: promtool reads the
# classic text, Python's client library both formats, which must say the same; promtool checks the example
# of a configuration and the rules, and runs their tests; and what rules and documentation name must be
# what there is. The metrics are those of the tests, with every family and with names that need escaping.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh build prometheus
folder=$(mktemp --directory)
trap 'rm --recursive --force "$folder"' EXIT
# shellcheck disable=SC2086  # several flags
SLUICE_METRICS_FOLDER=$folder swift test ${SWIFTFLAGS:-} --filter AdminTests.SluiceFamiliesTests
promtool check metrics <"$folder/classic.txt"
echo "ok: promtool check metrics"
# Debian's own: another Python that comes first in PATH does not see Debian's packages.
/usr/bin/python3 scripts/check-prometheus.py "$folder/classic.txt" "$folder/openmetrics.txt" \
  deploy/prometheus/sluice.rules.yml docs/admin.md

promtool check config deploy/prometheus/prometheus.yml
promtool test rules deploy/prometheus/sluice.rules.test.yml
