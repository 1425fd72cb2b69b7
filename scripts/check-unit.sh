#!/usr/bin/env bash
# The unit file as systemd sees it: no word of complaint, and an exposure under 4.0 of 10.
# Nothing is installed or started.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh unit

unit=deploy/sluice.service
folder=$(mktemp --directory)
trap 'rm --recursive --force "$folder"' EXIT

# The program need not be installed here, and a path that is missing would be complained of.
copy=$folder/${unit##*/}
sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$unit" >"$copy"

complaints=$(systemd-analyze verify --man=no "$copy" 2>&1) || true
if [ -n "$complaints" ]; then
  printf '%s\n' "FAILED: systemd-analyze verify $unit" "$complaints"
  exit 1
fi
echo "ok: systemd-analyze verify $unit"

# The threshold is in tenths. Everything that is still exposed is shown.
report=$(systemd-analyze security --no-pager --offline=true --threshold=40 "$copy" 2>&1) || {
  printf '%s\n' "$report" "FAILED: exposure of $unit"
  exit 1
}
grep '✗' <<<"$report" || true
grep 'Overall exposure' <<<"$report"
echo "ok: exposure of $unit"
