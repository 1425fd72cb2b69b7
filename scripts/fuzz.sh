#!/usr/bin/env bash
# Long seeded walks: mutated configuration files, random schedules on a fake kernel, and real clients
# and endpoints that misbehave. Every seed is printed; set it to walk the same way again
# (SLUICE_FUZZ_SEED, SLUICE_SCHEDULE_SEED, CHAOS_SEED).
# Needs the release binary: make fuzz. FILES, SCHEDULES and CHAOS=off|on set how far to go.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh acceptance
export SLUICE_FUZZ_FILES=${FILES:-10000}
export SLUICE_FUZZ_SEED=${SLUICE_FUZZ_SEED:-$RANDOM}
export SLUICE_SCHEDULES=${SCHEDULES:-3000}
export SLUICE_SCHEDULE_SEED=${SLUICE_SCHEDULE_SEED:-$RANDOM}
export CHAOS_SEED=${CHAOS_SEED:-$RANDOM}

echo "mutated files: $SLUICE_FUZZ_FILES, SLUICE_FUZZ_SEED=$SLUICE_FUZZ_SEED"
swift test --filter 'FuzzTests'
echo "schedules: $SLUICE_SCHEDULES, SLUICE_SCHEDULE_SEED=$SLUICE_SCHEDULE_SEED"
swift test --filter 'ScheduleTests'
echo "chaotic sessions: CHAOS_SEED=$CHAOS_SEED"
scripts/acceptance/run.py chaos
