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
# Schedules run in several processes at once (JOBS), each with a range of seeds of its own. Many of them are
# worth a release build, which runs ten times as many a second.
tests=.build/debug/sluicePackageTests.xctest
if ((SLUICE_SCHEDULES > 20000)); then
  # shellcheck disable=SC2086
  swift build ${SWIFTFLAGS:-} --configuration release --build-tests --scratch-path .build-fuzz \
    -Xswiftc -enable-testing -Xswiftc -enforce-exclusivity=unchecked --quiet
  tests=.build-fuzz/release/sluicePackageTests.xctest
fi
jobs=${JOBS:-$(nproc)}
each=$(((SLUICE_SCHEDULES + jobs - 1) / jobs))
first=$SLUICE_SCHEDULE_FIRST
logs=$(mktemp --directory)
trap 'rm --recursive --force "$logs"' EXIT
echo "$((each * jobs)) schedules in $jobs processes, SLUICE_SCHEDULE_FIRST=$first"
running=()
for ((job = 0; job < jobs; job++)); do
  SLUICE_SCHEDULES=$each SLUICE_SCHEDULE_FIRST=$((first + job * each)) SLUICE_SCHEDULE_SAYS=1 \
    "$tests" --testing-library swift-testing --filter DataPlaneTests.ScheduleTests \
    >"$logs/$job" 2>&1 &
  running+=($!)
done
failed=0
for ((job = 0; job < jobs; job++)); do
  echo "seeds $((first + job * each)) to $((first + (job + 1) * each - 1)):"
  if ! wait "${running[job]}"; then
    failed=1
    # A trap ends the process within a schedule; the others of its range were not run.
    echo "the last one was $(grep '^schedule ' "$logs/$job" | tail --lines=1)"
  fi
  grep --extended-regexp 'seed [0-9]+:|Fatal|crashed' "$logs/$job" | head --lines=20 || true
  tail --lines=1 "$logs/$job"
done
((failed == 0)) || exit 1
echo "10000 chaotic sessions, CHAOS_SEED=$CHAOS_SEED"
scripts/acceptance/run.py chaos
