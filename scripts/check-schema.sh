#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Proves that deploy/sluice.schema.json and the decoder agree, on generated documents.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh build schema
# Debian's own: another Python that comes first in PATH does not see Debian's packages.
python=/usr/bin/python3
cases=$(mktemp)
trap 'rm --force "$cases"' EXIT
# shellcheck disable=SC2086  # several flags
SLUICE_SCHEMA_CASES=$cases swift test ${SWIFTFLAGS:-} --filter ConfigurationTests.JSONSchemaTests
"$python" scripts/check-schema.py deploy/sluice.schema.json "$cases"
