#!/usr/bin/env bash
# Runs the image under the restrictions that docs/container.md promises it can bear, and looks at
# what the kernel says about the process rather than at what the image says about itself: not root,
# a root that cannot be written, no capabilities. It must serve an echo, take a configuration that is
# mounted, and when it is stopped let a session that is open finish, and end with 0.
#
# Usage: scripts/image-test.sh IMAGE       ENGINE=podman for another engine
set -euo pipefail

image=${1:?usage: image-test.sh IMAGE}
engine=${ENGINE:-docker}
bytes_max=$((100 * 1000 * 1000))
# The time to drain in the image's own configuration; a session that ends must not take so long.
drain_seconds=20

command -v "$engine" >/dev/null || { echo "image-test: no $engine here" >&2; exit 69; }

folder=$(mktemp --directory --tmpdir sluice-image-XXXXXX)
chmod 755 "$folder" # the program in the container is another user
containers=()

clean() {
  local container
  for container in "${containers[@]}"; do
    "$engine" rm --force "$container" >/dev/null 2>&1 || true
  done
  rm --recursive --force "$folder"
}
trap clean EXIT
trap 'exit 130' INT TERM

fail() {
  echo "FAILED: $1" >&2
  if [ "${#containers[@]}" -gt 0 ]; then "$engine" logs "${containers[-1]}" >&2 || true; fi
  exit 1
}

# expect DESCRIPTION WANTED FOUND
expect() {
  [ "$3" = "$2" ] || fail "$1: '$3' instead of '$2'"
  echo "ok: $1"
}

restrictions=(--read-only --cap-drop ALL --security-opt no-new-privileges
  --memory 64m --pids-limit 64)

# start PORT [OPTION...]: runs the image with PORT published; sets $container and $port.
start() {
  local inside=$1 tries
  shift
  container=$("$engine" run --detach --publish "127.0.0.1::$inside" "${restrictions[@]}" "$@" \
    "$image")
  containers+=("$container")
  port=$("$engine" port "$container" "$inside/tcp" | sed --quiet 's/^127\.0\.0\.1://p')
  [ -n "$port" ] || fail "port $inside is not published"
  # The engine may accept before the program does: only an answer counts.
  for ((tries = 0; tries < 100; tries++)); do
    if answers; then return; fi
    sleep 0.1
  done
  fail "nothing answers on port $inside"
}

# echoes WORD: sends a line on descriptor 9 and reads it back.
echoes() {
  local line
  printf '%s\n' "$1" >&9 && IFS= read -r -t 5 line <&9 && [ "$line" = "$1" ]
}

# Whether a new session is served.
answers() {
  local served=1
  { exec 9<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || return 1
  if echoes hello 2>/dev/null; then served=0; fi
  exec 9>&-
  return "$served"
}

# status KEY: a line of /proc/1/status, which is the program's.
status() {
  "$engine" exec "$container" sed --quiet "s/^$1:[[:space:]]*\([0-9a-f]*\).*/\1/p" /proc/1/status
}

# wait_for_log WORDS: until the container has logged them; ten seconds at most.
wait_for_log() {
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    # Not `| grep --quiet`, which would end the engine by SIGPIPE.
    "$engine" logs "$container" >"$folder/log" 2>&1
    if grep --quiet --fixed-strings "$1" "$folder/log"; then return; fi
    sleep 0.1
  done
  fail "'$1' was not logged"
}

# The size is that of the files: engines differ in whether they count layers compressed.
containers+=("$("$engine" create "$image")")
bytes=$("$engine" export "${containers[-1]}" | wc --bytes)
[ "$bytes" -lt "$bytes_max" ] || fail "$bytes bytes; the bound is $bytes_max"
echo "ok: $bytes bytes, under $bytes_max"

# probe [OPTION...]: asks the program in the container; sets $probe_code, and $probe_text to its words.
probe() {
  probe_code=0
  probe_text=$("$engine" exec "$container" sluice probe --config /etc/sluice/config.yaml "$@" 2>&1 9>&-) ||
    probe_code=$?
}

start 7000
echo "ok: serves an echo with the configuration it brings"
probe
expect "is ready" "0 ok" "$probe_code $probe_text"
health=$("$engine" inspect --format '{{json .Config.Healthcheck}}' "$container")
if [ "$health" = null ] || [ -z "$health" ]; then
  echo "left out: the image's format has no health check"
else
  for ((tries = 0; tries < 300; tries++)); do
    health=$("$engine" inspect --format '{{.State.Health.Status}}' "$container")
    if [ "$health" != starting ]; then break; fi
    sleep 0.1
  done
  expect "the engine finds it healthy" healthy "$health"
fi
uid=$(status Uid)
[ "$uid" -gt 0 ] || fail "runs as root"
echo "ok: runs as user $uid"
for capabilities in CapInh CapPrm CapEff CapBnd CapAmb; do
  expect "$capabilities is empty" 0000000000000000 "$(status "$capabilities")"
done
expect "can gain no privileges" 1 "$(status NoNewPrivs)"
expect "the root cannot be written" ro \
  "$("$engine" exec "$container" sed --quiet 's/^[^ ]* \/ [^ ]* \(r[ow]\)[, ].*/\1/p' /proc/mounts)"

exec 9<>"/dev/tcp/127.0.0.1/$port"
echoes before || fail "the session is not served"
began=$SECONDS
# Without descriptor 9: a copy in the engine's client would keep the session open.
"$engine" stop --time $((drain_seconds + 10)) "$container" >/dev/null 9>&- &
stopping=$!
wait_for_log draining
probe
expect "is not ready while it drains" "1 draining" "$probe_code $probe_text"
probe --live
expect "and lives" "0 ok" "$probe_code $probe_text"
echoes after || fail "a session that was open is not served while the proxy drains"
expect "an open session goes on after SIGTERM" true \
  "$("$engine" inspect --format '{{.State.Running}}' "$container")"
exec 9>&-
wait "$stopping"
seconds=$((SECONDS - began))
[ "$seconds" -lt "$drain_seconds" ] || fail "stopping took $seconds s after the session had ended"
echo "ok: stopped within $seconds s, once the session had ended"
expect "exit code" 0 "$("$engine" inspect --format '{{.State.ExitCode}}' "$container")"
"$engine" logs "$container" >"$folder/log" 2>&1
grep --quiet ' access end .* up=13 down=13 .* end=finished ' "$folder/log" ||
  fail "the session's record does not say that it finished"
echo "ok: the session's record says that it finished"

cat >"$folder/config.yaml" <<'END'
routes:
  mounted: {listen: ":7001", to: "builtin:echo"}
END
chmod 644 "$folder/config.yaml"
start 7001 --volume "$folder/config.yaml:/etc/sluice/config.yaml:ro"
echo "ok: takes a configuration that is mounted"
probe
expect "cannot be asked without admin" 69 "$probe_code"
probe --live --if-configured
expect "which need not be a fault" 0 "$probe_code"
"$engine" stop --time 30 "$container" >/dev/null
expect "exit code without a session" 0 \
  "$("$engine" inspect --format '{{.State.ExitCode}}' "$container")"

code=0
echo 'routes: {wrong: {listen: 1}}' |
  "$engine" run --rm --interactive "${restrictions[@]}" "$image" check - >"$folder/log" 2>&1 || code=$?
expect "exit code of a wrong configuration" 78 "$code"
