#!/usr/bin/env bash
# What the shipped binary must not carry: full Foundation with its ICU data (it would be 60 MB), or
# shared libraries beyond those that every Linux system with a C++ runtime has.
# Usage: scripts/check-binary.sh BINARY
set -euo pipefail

binary=${1:?usage: check-binary.sh BINARY}
bytes_max=$((20 * 1000 * 1000))

# Mangled names begin with the module: 10Foundation is full Foundation, 20FoundationEssentials not.
# shellcheck disable=SC2016  # the dollar is part of the names
if nm --defined-only "$binary" | grep --extended-regexp --max-count=3 '\$s10Foundation[0-9A-Z]'; then
  echo "check-binary: full Foundation is linked" >&2
  exit 1
fi
unexpected=$(readelf --dynamic "$binary" | sed --quiet 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
  grep --invert-match --extended-regexp '^(libm|libc|libstdc\+\+|libgcc_s|ld-linux.*)\.so' || true)
if [ -n "$unexpected" ]; then
  echo "check-binary: needs shared libraries that may be missing: $unexpected" >&2
  exit 1
fi
stripped=$(mktemp)
trap 'rm --force "$stripped"' EXIT
strip -o "$stripped" "$binary"
bytes=$(stat --format=%s "$stripped")
if [ "$bytes" -ge "$bytes_max" ]; then
  echo "check-binary: $bytes bytes stripped; the bound is $bytes_max" >&2
  exit 1
fi
echo "check-binary: $bytes bytes stripped, no full Foundation"
