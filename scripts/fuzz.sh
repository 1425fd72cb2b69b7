#!/usr/bin/env bash
# Long seeded walks: mutated configuration files, random schedules on a fake kernel, and real clients
# and endpoints that misbehave. Every seed is printed; set it to walk the same way again
# (SLUICE_FUZZ_SEED, SLUICE_SCHEDULE_FIRST, CHAOS_SEED). FILES and SCHEDULES say how far to go.
# Needs the release binary: make fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh build acceptance
export SLUICE_FUZZ_FILES=${FILES:-10000}
export SLUICE_FUZZ_SEED=${SLUICE_FUZZ_SEED:-$((RANDOM * 32768 + RANDOM))}
export SLUICE_SCHEDULES=${SCHEDULES:-1000}
export SLUICE_SCHEDULE_FIRST=${SLUICE_SCHEDULE_FIRST:-$((RANDOM * 32768 + RANDOM))}
export CHAOS_SEED=${CHAOS_SEED:-$RANDOM}

echo "$SLUICE_FUZZ_FILES mutated files, SLUICE_FUZZ_SEED=$SLUICE_FUZZ_SEED"
# shellcheck disable=SC2086  # several flags
swift test ${SWIFTFLAGS:-} --filter ConfigurationTests.FuzzTests 2>&1 | tail --lines=5
echo "$SLUICE_SCHEDULES schedules, SLUICE_SCHEDULE_FIRST=$SLUICE_SCHEDULE_FIRST"
# shellcheck disable=SC2086
swift test ${SWIFTFLAGS:-} --skip-build --filter DataPlaneTests.ScheduleTests 2>&1 | tail --lines=5
echo "10000 chaotic sessions, CHAOS_SEED=$CHAOS_SEED"
scripts/acceptance/run.py chaos
