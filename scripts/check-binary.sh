#!/usr/bin/env bash
# What the shipped binary must not carry: full Foundation with its ICU data (it would be 60 MB), or
# shared libraries beyond those that every Linux system with a C++ runtime has.
# Usage: scripts/check-binary.sh BINARY
set -euo pipefail

binary=${1:?usage: check-binary.sh BINARY}
bytes_max=$((21 * 1000 * 1000))

"$(dirname "$0")/install.sh" binary
folder=$(mktemp --directory --tmpdir sluice-binary-XXXXXX)
trap 'rm --recursive --force "$folder"' EXIT
# To a file: a grep that has seen enough would end nm by SIGPIPE, and the pipeline with an error.
nm --defined-only "$binary" >"$folder/symbols"

# has_module NAME: whether symbols of a Swift module are linked. Mangled names begin with the module:
# 10Foundation is full Foundation, 20FoundationEssentials not.
has_module() {
  grep --quiet --extended-regexp "\\\$s${#1}${1}[0-9A-Z]" "$folder/symbols"
}

# What is there must be seen, or the next answer is worth nothing (a stripped binary, other names).
if ! has_module DataPlane; then
  echo "check-binary: no symbol of our own is seen in $binary; is it stripped?" >&2
  exit 1
fi
if has_module Foundation; then
  echo "check-binary: full Foundation is linked" >&2
  exit 1
fi
unexpected=$(readelf --dynamic "$binary" | sed --quiet 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
  grep --invert-match --extended-regexp '^(libm|libc|libstdc\+\+|libgcc_s|ld-linux.*)\.so' || true)
if [ -n "$unexpected" ]; then
  echo "check-binary: needs shared libraries that may be missing: $unexpected" >&2
  exit 1
fi
glibc=$(readelf --version-info "$binary" | grep --only-matching --extended-regexp 'GLIBC_[0-9.]+' |
  sort --unique --version-sort | tail --lines=1)
strip -o "$folder/stripped" "$binary"
bytes=$(stat --format=%s "$folder/stripped")
if [ "$bytes" -ge "$bytes_max" ]; then
  echo "check-binary: $bytes bytes stripped; the bound is $bytes_max" >&2
  exit 1
fi
echo "check-binary: $bytes bytes stripped, no full Foundation, needs glibc ${glibc#GLIBC_}"
