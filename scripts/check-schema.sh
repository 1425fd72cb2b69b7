#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Proves that deploy/sluice.schema.json and the decoder agree, on generated documents. Needs
# the network, once.
set -eu
cd "$(dirname "$0")/.."

venv=.build-venv
if ! [ -x "$venv/bin/python3" ] || ! "$venv/bin/python3" -c 'import jsonschema' 2>/dev/null; then
  scripts/install.sh schema
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check 'jsonschema==4.26.0'
fi

cases=$(mktemp)
trap 'rm --force "$cases"' EXIT
SLUICE_SCHEMA_CASES=$cases swift test --filter ConfigurationTests.JSONSchemaTests
"$venv/bin/python3" scripts/check-schema.py deploy/sluice.schema.json "$cases"
