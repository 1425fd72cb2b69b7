#!/usr/bin/env bash
# Real programs talk to each other through the proxy, and nothing may differ from talking directly:
# Redis, PostgreSQL, a large download from nginx, iperf3 both ways at once, TLS. One proxy process
# has a route for each. Every peer runs as an instance of our own, in a temporary folder, on a port
# that was free, and is ended by its process id.
#
# QUICK=1 is smaller. PROXY is the proxy's binary; PROXY=haproxy compares with HAProxy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

proxy=${PROXY:-.build/release/sluice}
if [ -n "${QUICK:-}" ] && [ "$QUICK" != 0 ]; then
  redis_requests=20000 pgbench_seconds=2 download_mib=128 iperf_seconds=2 tls_mib=8
else
  redis_requests=200000 pgbench_seconds=8 download_mib=1024 iperf_seconds=8 tls_mib=64
fi

command -v "$proxy" >/dev/null || { echo "interop.sh: no proxy at $proxy" >&2; exit 69; }
scripts/install.sh interop
PATH=$PATH:/usr/sbin:$(printf '%s:' /usr/lib/postgresql/*/bin)

folder=$(mktemp --directory --tmpdir sluice-interop-XXXXXX)
chmod 755 "$folder" # servers that give up root must reach their files
pids=()

# Ends what was started, the newest first, and waits for it: SIGKILL after five seconds.
end_all() {
  local index pid tries
  for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
    pid=${pids[index]}
    kill -TERM "$pid" 2>/dev/null || continue
    for ((tries = 0; tries < 100; tries++)); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.05
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm --recursive --force "$folder"
}
trap end_all EXIT
trap 'exit 130' INT TERM

# start NAME COMMAND...: in the background, its words in NAME.log; its process id in $started.
start() {
  local name=$1
  shift
  "$@" </dev/null >"$folder/$name.log" 2>&1 &
  started=$!
  pids+=("$started")
}

accepts() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# wait_for NAME PORT: until the process started last accepts there; ten seconds at most.
wait_for() {
  local name=$1 port=$2 tries
  for ((tries = 0; tries < 200; tries++)); do
    if accepts "$port"; then return; fi
    kill -0 "$started" 2>/dev/null || break
    sleep 0.05
  done
  echo "interop.sh: $name does not accept on port $port" >&2
  tail --lines=20 "$folder/$name.log" >&2
  exit 1
}

# A port below those for outgoing connections that nothing accepts on; in $port.
used=" "
free_port() {
  while true; do
    port=$((10240 + RANDOM % 20000))
    case "$used" in *" $port "*) continue ;; esac
    accepts "$port" || break
  done
  used+="$port "
}

names=(redis postgres download iperf tls)
declare -A at through
for name in "${names[@]}"; do
  free_port && at[$name]=$port
  free_port && through[$name]=$port
done

start_redis() {
  start redis redis-server --bind 127.0.0.1 --port "${at[redis]}" --dir "$folder" \
    --save '' --appendonly no --daemonize no
  wait_for redis "${at[redis]}"
}

# PostgreSQL refuses to run as root: the user that its package made owns the data then.
start_postgres() {
  local data=$folder/postgres as=()
  install --directory --mode=700 "$data"
  if [ "$(id -u)" -eq 0 ]; then
    chown postgres: "$data"
    as=(setpriv --reuid=postgres --regid=postgres --init-groups)
  fi
  "${as[@]}" env --chdir=/ initdb --pgdata="$data" --username=postgres --auth=trust \
    --encoding=UTF8 --no-sync >"$folder/initdb.log" 2>&1 ||
    { tail --lines=20 "$folder/initdb.log" >&2; exit 1; }
  start postgres "${as[@]}" env --chdir=/ postgres -D "$data" -h 127.0.0.1 \
    -p "${at[postgres]}" -c fsync=off -c unix_socket_directories=''
  wait_for postgres "${at[postgres]}"
}

start_download() {
  head --bytes="${download_mib}M" /dev/urandom >"$folder/download.bin"
  cat >"$folder/nginx.conf" <<END
daemon off;
pid $folder/nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  sendfile on;
  client_body_temp_path $folder/nginx-body;
  proxy_temp_path $folder/nginx-proxy;
  fastcgi_temp_path $folder/nginx-fastcgi;
  uwsgi_temp_path $folder/nginx-uwsgi;
  scgi_temp_path $folder/nginx-scgi;
  server { listen 127.0.0.1:${at[download]}; root $folder; }
}
END
  start download nginx -e stderr -p "$folder" -c "$folder/nginx.conf"
  wait_for download "${at[download]}"
}

start_iperf() {
  start iperf iperf3 --server --bind 127.0.0.1 --port "${at[iperf]}"
  wait_for iperf "${at[iperf]}"
}

# With -HTTP the server sends a file as it is, so that what arrives can be compared byte for byte.
start_tls() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost \
    -keyout "$folder/key.pem" -out "$folder/certificate.pem" 2>"$folder/certificate.log"
  install --directory "$folder/tls"
  head --bytes="${tls_mib}M" /dev/urandom >"$folder/tls/payload.bin"
  start tls env --chdir="$folder/tls" openssl s_server -accept "127.0.0.1:${at[tls]}" \
    -cert "$folder/certificate.pem" -key "$folder/key.pem" -HTTP
  wait_for tls "${at[tls]}"
}

start_proxy() {
  local name configuration=$folder/proxy.conf
  if [ "$(basename "$proxy")" = haproxy ]; then
    {
      echo "defaults"
      echo "  mode tcp"
      echo "  timeout connect 5s"
      echo "  timeout client 1m"
      echo "  timeout server 1m"
      for name in "${names[@]}"; do
        echo "listen $name"
        echo "  bind 127.0.0.1:${through[$name]}"
        echo "  server s 127.0.0.1:${at[$name]}"
      done
    } >"$configuration"
    start proxy "$proxy" -db -f "$configuration"
  else
    {
      echo "log: {access: \"$folder/access.log\", level: info}"
      echo "routes:"
      for name in "${names[@]}"; do
        echo "  $name: {listen: \"127.0.0.1:${through[$name]}\", to: [\"127.0.0.1:${at[$name]}\"]}"
      done
    } >"$configuration"
    start proxy "$proxy" run -c "$configuration"
  fi
  proxy_pid=$started
  for name in "${names[@]}"; do wait_for proxy "${through[$name]}"; done
}

# The checks: each prints what was seen, in one line, and fails when anything was wrong.

try_redis() {
  local address=(-h 127.0.0.1 -p "${through[redis]}") out errors
  out=$(
    redis-benchmark "${address[@]}" -n "$redis_requests" -c 50 -t set,get -q 2>&1 &&
      redis-benchmark "${address[@]}" -n "$redis_requests" -c 50 -P 16 -t set,get -q 2>&1 &&
      redis-benchmark "${address[@]}" -n 2000 -c 8 -d 200000 -t set,get -q 2>&1
  ) || { echo "$out"; return 1; }
  if grep --quiet --ignore-case error <<<"$out"; then
    echo "$out"
    return 1
  fi
  errors=$(redis-cli "${address[@]}" info stats |
    grep --extended-regexp '^(total_error_replies|rejected_connections):' | tr --delete '\r')
  if grep --quiet --invert-match ':0$' <<<"$errors"; then
    echo "$errors"
    return 1
  fi
  tr '\r' '\n' <<<"$out" | grep 'per second' | head --lines=2 |
    sed --regexp-extended 's/,.*//; s/ requests per second/\/s/' | paste --serial --delimiters=' '
}

try_postgres() {
  local address=(--host=127.0.0.1 --port="${through[postgres]}" --username=postgres) out
  pgbench "${address[@]}" --initialize --scale=2 --quiet postgres >"$folder/pgbench.log" 2>&1 ||
    { cat "$folder/pgbench.log"; return 1; }
  out=$(pgbench "${address[@]}" --client=8 --jobs=2 --time="$pgbench_seconds" postgres 2>&1) ||
    { echo "$out"; return 1; }
  grep --quiet 'number of failed transactions: 0 ' <<<"$out" || { echo "$out"; return 1; }
  # A connection for each transaction: many short sessions.
  out+=$(pgbench "${address[@]}" --client=4 --connect --select-only --transactions=100 \
    postgres 2>&1) || { echo "$out"; return 1; }
  grep --only-matching --extended-regexp \
    'number of transactions actually processed: [0-9/]+|tps = [0-9]+' <<<"$out" |
    sed 's/number of transactions actually processed:/transactions/' |
    paste --serial --delimiters=' '
}

try_download() {
  local expected received out
  expected=$(sha256sum <"$folder/download.bin")
  out=$(curl --fail --silent --show-error --max-time 60 --output "$folder/received.bin" \
    --write-out '%{size_download} B at %{speed_download} B/s' \
    "http://127.0.0.1:${through[download]}/download.bin" 2>&1) || { echo "$out"; return 1; }
  received=$(sha256sum <"$folder/received.bin")
  rm "$folder/received.bin"
  [ "$expected" = "$received" ] || { echo "$out, but the checksum differs"; return 1; }
  echo "$out, checksum equal"
}

# iperf3 tells its two streams apart by the order in which they arrive, and each may go through another worker:
# where they have changed places, nothing moves, and it has to be asked again.
try_iperf() {
  local out rates attempt
  for attempt in 1 2 3; do
    out=$(iperf3 --client 127.0.0.1 --port "${through[iperf]}" --bidir --time "$iperf_seconds" \
      --format g 2>&1) || { echo "$out"; return 1; }
    rates=$(awk '/receiver/ { for (i = 1; i <= NF; i++) if ($i == "Gbits/sec") {
         printf "%s%s Gbit/s", n++ ? ", " : "", $(i - 1); if ($(i - 1) + 0 == 0) stalled = 1 } }
       END { exit n != 2 || stalled }' <<<"$out") && { echo "$rates"; return 0; }
  done
  echo "$rates in the last of $attempt attempts"
  return 1
}

try_tls() {
  local expected received
  expected=$(sha256sum <"$folder/tls/payload.bin")
  printf 'GET /payload.bin HTTP/1.0\r\n\r\n' |
    timeout 60 openssl s_client -quiet -connect "127.0.0.1:${through[tls]}" -servername localhost \
      -CAfile "$folder/certificate.pem" -verify_hostname localhost -verify_return_error \
      >"$folder/tls/received.bin" 2>"$folder/tls/client.log" ||
    { cat "$folder/tls/client.log"; return 1; }
  received=$(sha256sum <"$folder/tls/received.bin")
  [ "$expected" = "$received" ] ||
    { echo "$(stat --format=%s "$folder/tls/received.bin") B, checksum differs"; return 1; }
  echo "$tls_mib MiB, certificate verified, checksum equal"
}

passed=0 failed=0
# In a shell of its own with `set -e` in force, which `if try_x` would switch off.
check() {
  local name=$1 function=$2 out code since=$SECONDS
  set +e
  out=$(set -e; "$function" 2>&1)
  code=$?
  set -e
  if [ "$code" -eq 0 ]; then
    passed=$((passed + 1))
    echo "PASS  $name: $out ($((SECONDS - since)) s)"
  else
    failed=$((failed + 1))
    echo "FAIL  $name ($((SECONDS - since)) s)"
    printf '%s\n' "$out" | tail --lines=15 | sed 's/^/      /'
  fi
}

start_redis
start_postgres
start_download
start_iperf
start_tls
start_proxy

check "redis-benchmark to redis-server" try_redis
check "pgbench to PostgreSQL" try_postgres
check "curl of $download_mib MiB from nginx" try_download
check "iperf3 both ways at once" try_iperf
check "openssl s_client to s_server" try_tls

if ! kill -0 "$proxy_pid" 2>/dev/null; then
  failed=$((failed + 1))
  echo "FAIL  the proxy ended by itself"
  tail --lines=20 "$folder/proxy.log"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
