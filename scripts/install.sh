#!/usr/bin/env bash
# Installs the Debian packages that a purpose needs; does nothing, quickly, when they are there.
# The one place where package names live. Usage: scripts/install.sh PURPOSE...
#
# Packages that bring a daemon must not start it: the checks run their own instances, with their
# own data and ports. So a policy-rc.d that refuses every start stands while apt runs.
set -euo pipefail

packages_for() {
  case "$1" in
    build) echo libyaml-dev libc-ares-dev libc6-dev ;;
    lint) echo shellcheck yamllint python3-pip ;;
    interop)
      echo redis-server redis-tools postgresql postgresql-contrib nginx curl iperf3 openssl
      ;;
    checks)
      echo redis-server redis-tools postgresql mariadb-server exim4-daemon-light nginx openssl \
        python3
      ;;
    # Envoy comes from PyPI, into a virtual environment.
    bench) echo python3 python3-venv haproxy nginx libnginx-mod-stream strace util-linux ;;
    instructions) echo python3 valgrind binutils ;;
    acceptance) echo python3 binutils dnsmasq-base util-linux ;;
    stop) echo python3 debootstrap systemd-container util-linux ;;
    bench-streams) echo python3 python3-venv ;;
    binary) echo binutils ;;
    run) echo netcat-openbsd ;;
    schema) echo python3 python3-jsonschema ;;
    unit) echo systemd ;;
    # promtool comes with the server.
    prometheus) echo prometheus python3 python3-prometheus-client ;;
    *)
      echo "install.sh: unknown purpose '$1' (build lint interop checks bench bench-streams instructions acceptance stop binary run schema unit prometheus)" >&2
      return 64
      ;;
  esac
}

is_installed() {
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "$@"
}

policy=/usr/sbin/policy-rc.d
policy_is_ours=no

withdraw_policy() {
  if [ "$policy_is_ours" = yes ]; then as_root rm --force "$policy"; fi
}

refuse_daemons() {
  if [ -e "$policy" ]; then return; fi
  trap withdraw_policy EXIT
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  policy_is_ours=yes
  as_root chmod 755 "$policy"
}

if [ "$#" -eq 0 ]; then
  echo "usage: scripts/install.sh PURPOSE..." >&2
  echo "  (build lint interop checks bench bench-streams instructions acceptance stop binary run schema unit prometheus)" >&2
  exit 64
fi

missing=()
for purpose in "$@"; do
  packages=$(packages_for "$purpose")
  for package in $packages; do
    is_installed "$package" || missing+=("$package")
  done
done
if [ "${#missing[@]}" -eq 0 ]; then exit 0; fi

if ! command -v apt-get >/dev/null; then
  echo "install.sh: needed, and no apt-get here to install them: ${missing[*]}" >&2
  exit 69
fi
echo "installing: ${missing[*]}"
refuse_daemons
# The package lists of a fresh container are empty, those of an old machine stale: fetch them only
# when the first attempt fails.
apt_install "${missing[@]}" >/dev/null 2>&1 || {
  as_root apt-get update --quiet=2
  apt_install "${missing[@]}" >/dev/null
}
