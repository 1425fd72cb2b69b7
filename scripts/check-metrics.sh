#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Proves that others can read the metrics: promtool the classic text, Python's client library both
# formats, and that both say the same. The text is that of the tests, with every metric and with names
# that need escaping.
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
/usr/bin/python3 scripts/check-metrics.py "$folder/classic.txt" "$folder/openmetrics.txt"
