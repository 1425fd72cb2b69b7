#!/usr/bin/env python3
# Health checks against the real servers of Debian: Redis and PostgreSQL with a second server that follows
# the first, MariaDB, Exim, OpenSSL, nginx. One proxy checks them all in every way; each verdict is
# compared with what it should be, before and after the followers are promoted. Then the servers are
# asked what they made of it: nothing counted, nothing logged.
#
# Every server is an instance of its own, in a temporary folder, on loopback ports that were free, and is
# ended by its process id. SLUICE is the proxy's binary. Takes about twenty seconds.

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLUICE = os.path.abspath(os.environ.get("SLUICE", ROOT / ".build/release/sluice"))
POSTGRES = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
os.environ["PATH"] += ":/usr/sbin:" + ":".join(map(str, POSTGRES))

folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-servers-"))
folder.chmod(0o755)
processes = []
failures = 0
used = set()


def free_port(host="127.0.0.1"):
    while True:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
        if port not in used:
            used.add(port)
            return port


def accepts(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), timeout=1).close()
        return True
    except OSError:
        return False


def eventually(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def start(name, command, port=None, host="127.0.0.1", **options):
    log = open(folder / f"{name}.log", "wb")
    process = subprocess.Popen(
        list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **options)
    processes.append(process)
    if port and not eventually(lambda: accepts(port, host) or process.poll() is not None):
        fail_start(name)
    if process.poll() is not None:
        fail_start(name)
    return process


def fail_start(name):
    print(f"check-servers.py: {name} does not start", file=sys.stderr)
    print((folder / f"{name}.log").read_text(errors="replace")[-2000:], file=sys.stderr)
    sys.exit(69)


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(*command, **options):
    return subprocess.run(
        list(map(str, command)), check=True, capture_output=True, text=True, cwd="/", **options).stdout


def expect(what, found, wanted):
    global failures
    if found == wanted:
        print(f"PASS  {what}")
    else:
        failures += 1
        print(f"FAIL  {what}: {found!r}, not {wanted!r}")


# The servers.


def start_redis(name, *more):
    port = free_port()
    start(
        name,
        ["redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", folder, *more],
        port)
    return port


def as_user(name):
    return {} if os.getuid() else {"user": name, "group": name, "extra_groups": []}


def start_postgres():
    """A primary whose users log in in every way, and a standby of it."""
    data = folder / "postgres"
    data.mkdir(mode=0o700)
    if os.getuid() == 0:
        shutil.chown(data, "postgres", "postgres")
    run("initdb", f"--pgdata={data}", "--username=postgres", "--auth=trust", "--no-sync",
        **as_user("postgres"))
    ways = {"trusted": "trust", "plain": "password", "digest": "md5", "scram": "scram-sha-256"}
    (data / "pg_hba.conf").write_text(
        "".join(f"host all {user} 127.0.0.1/32 {way}\n" for user, way in ways.items())
        + "host all,replication postgres 127.0.0.1/32 trust\n"
        + "host all all 127.0.0.1/32 scram-sha-256\n")
    ports = [free_port(), free_port()]

    def serve(name, data, port):
        start(name, ["postgres", "-D", data, "-h", "127.0.0.1", "-p", port, "-c", "fsync=off", "-c",
                     "unix_socket_directories="], port, **as_user("postgres"))
        ready = ["pg_isready", "--host=127.0.0.1", f"--port={port}", "--quiet"]
        eventually(lambda: subprocess.run(ready, check=False).returncode == 0)

    serve("primary", data, ports[0])
    sql = "".join(
        f"SET password_encryption='{'md5' if user == 'digest' else 'scram-sha-256'}';"
        f"CREATE ROLE {user} LOGIN PASSWORD 'pw-right';" for user in ways)
    run("psql", "--host=127.0.0.1", f"--port={ports[0]}", "--username=postgres", "--quiet",
        f"--command={sql}")
    copy = folder / "standby"
    copy.mkdir(mode=0o700)
    if os.getuid() == 0:
        shutil.chown(copy, "postgres", "postgres")
    run("pg_basebackup", "--host=127.0.0.1", f"--port={ports[0]}", "--username=postgres",
        f"--pgdata={copy}", "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
        **as_user("postgres"))
    serve("standby", copy, ports[1])
    return ports


def start_mariadb():
    """On an address of its own: of 127.0.0.1, the server remembers no errors."""
    data = folder / "mariadb"
    data.mkdir(mode=0o755)
    if os.getuid() == 0:
        shutil.chown(data, "mysql", "mysql")
    who = [] if os.getuid() else ["--user=mysql"]
    run("mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal",
        f"--datadir={data}", "--skip-test-db", *who)
    port = free_port("127.0.0.2")
    start(
        "mariadb",
        ["mariadbd", "--no-defaults", f"--datadir={data}", *who, "--bind-address=127.0.0.2",
         f"--port={port}", f"--socket={data}/socket", "--max-connect-errors=3", "--log-warnings=9",
         "--innodb-buffer-pool-size=8M", "--performance-schema=on"], port, "127.0.0.2")
    mariadb(data, "CREATE USER probe@'%' IDENTIFIED BY 'pw-right'; FLUSH HOSTS; FLUSH STATUS")
    return data, port


def mariadb(data, sql):
    return run("mariadb", "--no-defaults", f"--socket={data}/socket", "--user=root",
               "--skip-column-names", f"--execute={sql}")


def mariadb_counts(data):
    rows = mariadb(data, "SHOW GLOBAL STATUS").splitlines()
    pairs = [row.split("\t") for row in rows]
    return {
        name: int(value) for name, value in pairs
        if name.startswith(("Aborted_c", "Connection_errors", "Access_denied"))}


def start_exim():
    port = free_port()
    spool = folder / "exim"
    spool.mkdir(mode=0o777)
    spool.chmod(0o777)
    conf = folder / "exim.conf"
    conf.write_text(
        f"primary_hostname = mail.example\nspool_directory = {spool}\n"
        f"log_file_path = {spool}/%slog\npid_file_path = {spool}/pid\n"
        "log_selector = +all\nbegin acl\n")
    conf.chmod(0o644)
    start("exim", ["exim4", "-C", conf, "-bdf", "-oX", f"127.0.0.1.{port}"], port)
    return port, spool


def start_tls():
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
        "/CN=localhost", "-keyout", folder / "key.pem", "-out", folder / "certificate.pem")
    ports = {}
    for name, option in (("tls1_2", "-tls1_2"), ("tls1_3", "-tls1_3")):
        ports[name] = free_port()
        start(name, ["openssl", "s_server", "-accept", f"127.0.0.1:{ports[name]}", option, "-quiet",
                     "-cert", folder / "certificate.pem", "-key", folder / "key.pem"], ports[name])
    ports["nginx"], ports["http"] = free_port(), free_port()
    keys = f"ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;"
    (folder / "nginx.conf").write_text(f"""
daemon off; pid {folder}/nginx.pid; error_log stderr notice; events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/n1; proxy_temp_path {folder}/n2; fastcgi_temp_path {folder}/n3;
  uwsgi_temp_path {folder}/n4; scgi_temp_path {folder}/n5;
  server {{ listen 127.0.0.1:{ports['nginx']} ssl default_server; ssl_reject_handshake on; }}
  server {{ listen 127.0.0.1:{ports['nginx']} ssl; server_name www.example; {keys} }}
  server {{ listen 127.0.0.1:{ports['http']}; return 200 ok; }}
}}
""")
    start("nginx", ["nginx", "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf"], ports["nginx"])
    return ports


# The proxy.


class Proxy:
    """One that checks; each check is a name, an address, and the text of the check."""

    def __init__(self, name, checks):
        self.admin = free_port()
        self.name = name
        lines = [f'admin: {{listen: "127.0.0.1:{self.admin}"}}', "log: {access: off}", "routes:"]
        for check in checks:
            lines.append(f'  {check}: {{listen: "unix:@{folder.name}-{name}-{check}", to: {check}}}')
        lines.append("upstreams:")
        for check, (address, text, *more) in checks.items():
            lines.append(f'  {check}: {{endpoints: ["{address}"], {"".join(m + ", " for m in more)}'
                         f"check: {{{text}, every: 200ms, timeout: 3s, initial: unknown, fall: 1}}}}")
        configuration = folder / f"{name}.yaml"
        configuration.write_text("\n".join(lines) + "\n")
        self.process = start(name, [SLUICE, "run", "--config", configuration], self.admin)

    def metrics(self, metric):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = re.findall(rf"^{metric}\{{(.*)\}} (\S+)$", text, re.MULTILINE)
        return [(dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for labels, value in found]

    def verdicts(self):
        return {labels["upstream"]: value == 1 for labels, value in self.metrics("sluice_endpoint_up")}

    def counts(self):
        counts = {}
        for labels, value in self.metrics("sluice_endpoint_checks_total"):
            counts[labels["upstream"]] = counts.get(labels["upstream"], 0) + value
        return counts

    def settled(self, rounds=3):
        """Once every endpoint has been checked so often again."""
        before = self.counts()
        eventually(lambda: all(count >= before.get(name, 0) + rounds
                               for name, count in self.counts().items()), 30)
        return self.verdicts()

    def log(self):
        return (folder / f"{self.name}.log").read_text(errors="replace")

    def cause(self, upstream):
        lines = [line for line in self.log().splitlines()
                 if "endpoint is down" in line and re.search(rf"upstream={upstream}( |$)", line)]
        match = re.search(r'cause=("([^"]*)"|\S+)', lines[-1]) if lines else None
        return (match.group(2) or match.group(1)) if match else None


def main():
    master = start_redis("redis-master")
    replica = start_redis("redis-replica", "--replicaof", f"127.0.0.1 {master}")
    locked = start_redis("redis-locked", "--requirepass", "pw-right")
    run("redis-cli", "-p", locked, "-a", "pw-right", "acl", "setuser", "probe", "on", ">pw-right", "+ping",
        "+info", "+quit")
    primary, standby = start_postgres()
    data, sql = start_mariadb()
    mail, spool = start_exim()
    tls = start_tls()
    expected = {}
    causes = {}
    checks = {}

    def add(name, port, text, is_up, cause=None, more=(), host="127.0.0.1"):
        checks[name] = (f"{host}:{port}", text, *more)
        expected[name] = is_up
        if cause:
            causes[name] = cause

    add("redis-ping", master, "redis: {}", True)
    add("redis-is-master", master, "redis: {role: master}", True)
    add("redis-not-master", replica, "redis: {role: master}", False,
        "the role is slave, and `master` is asked for")
    add("redis-is-replica", replica, "redis: {role: replica}", True)
    add("redis-no-password", locked, "redis: {}", False, "the server refuses: NOAUTH")
    add("redis-password", locked, "redis: {role: master, password: pw-right}", True)
    add("redis-wrong-password", locked, "redis: {password: pw-wrong}", False,
        "the server refuses: WRONGPASS")
    add("redis-user", locked, "redis: {username: probe, password: pw-right}", True)
    add("redis-user-role", locked, "redis: {role: master, username: probe, password: pw-right}", True)
    add("redis-exchange", master,
        r'exchange: [{send: "PING\r\n"}, {expect: {regex: "^[+]PONG$$"}}, {send: "QUIT\r\n"}]', True)
    add("redis-script", master,
        'script: [/bin/sh, -c, "redis-cli -h $$SLUICE_HOST -p $$SLUICE_PORT ping | grep PONG"]', True)
    add("any", replica, "any_of: [{smtp: {}}, {redis: {}}]", True)
    add("all", replica, "all_of: [{tcp: {}}, {redis: {role: replica}}]", True)
    add("all-but-one", replica, "all_of: [{redis: {}}, {redis: {role: master}}]", False,
        "redis: the role is slave, and `master` is asked for")

    add("postgres-stranger", primary, "postgres: {user: nobody}", True)
    add("postgres-trusted", primary, "postgres: {user: trusted}", True)
    for user in ("trusted", "plain", "digest", "scram"):
        add(f"postgres-{user}-primary", primary,
            f"postgres: {{role: primary, user: {user}, password: pw-right}}", True)
    add("postgres-not-standby", primary, "postgres: {role: standby, user: trusted}", False,
        "the role is primary, and `standby` is asked for")
    add("postgres-is-standby", standby, "postgres: {role: standby, user: scram, password: pw-right}", True)
    add("postgres-not-primary", standby, "postgres: {role: primary, user: trusted}", False,
        "the role is standby, and `primary` is asked for")
    add("postgres-wrong", primary, "postgres: {user: scram, password: pw-wrong}", False,
        "the server refuses: 28P01")
    add("postgres-none", primary, "postgres: {role: primary, user: scram}", False,
        "cannot log in: the server wants a password, and the check has none")
    add("redis-is-no-mysql", master, "mysql: {}", False, "no answer within 3s")

    add("mysql-user", sql, "mysql: {user: probe, password: pw-right}", True, host="127.0.0.2")

    add("smtp", mail, "smtp: {hello: proxy.example}", True)
    add("smtp-is-no-redis", mail, "redis: {}", False, "the answer is not Redis")
    for name in ("tls1_2", "tls1_3"):
        add(name, tls[name], "tls: {}", True)
    add("tls-name", tls["nginx"], "tls: {server_name: www.example}", True)
    add("tls-other-name", tls["nginx"], "tls: {server_name: other.example}", False,
        "TLS alert unrecognized_name")
    add("http-is-no-tls", tls["http"], "tls: {}", False, "the answer is not TLS")

    proxy = Proxy("proxy", checks)
    found = proxy.settled()
    for name, is_up in expected.items():
        expect(f"{name} is {'up' if is_up else 'down'}", found.get(name), is_up)
    for name, cause in causes.items():
        expect(f"{name}: {cause}", proxy.cause(name), cause)

    run("redis-cli", "-p", replica, "replicaof", "no", "one")
    run("psql", "--host=127.0.0.1", f"--port={standby}", "--username=postgres", "--quiet",
        "--command=SELECT pg_promote()")
    for name, is_up in {"redis-not-master": True, "redis-is-replica": False, "all": False,
                        "all-but-one": True, "postgres-not-primary": True,
                        "postgres-is-standby": False}.items():
        eventually(lambda name=name, is_up=is_up: proxy.verdicts()[name] == is_up)
        expect(f"{name} is {'up' if is_up else 'down'} after the promotion", proxy.verdicts()[name], is_up)

    # What the servers say of it.
    counts = mariadb_counts(data)
    made = proxy.counts()["mysql-user"]
    expect(f"MariaDB counted nothing in {made:.0f} checks", sum(counts.values()), 0)
    text = (folder / "primary.log").read_text() + (folder / "standby.log").read_text()
    odd = [line for line in text.splitlines()
           if re.search(r"could not (receive|send)|incomplete|unexpected|invalid|protocol", line)]
    expect("PostgreSQL has nothing to complain about", odd, [])
    mail_log = "".join(path.read_text(errors="replace") for path in spool.glob("*log"))
    odd = [line for line in mail_log.splitlines()
           if re.search(r"lost|dropped|unexpected disconnection|synchronization", line)
           and "proxy.example" in line]
    expect("Exim has nothing to complain about", odd, [])
    expect("no password in the log", [word for word in ("pw-right", "pw-wrong") if word in proxy.log()], [])
    end(proxy.process)

    # Who is let in by nobody is counted, but never shut out.
    stranger = Proxy("stranger", {
        "mysql-stranger": (f"127.0.0.2:{sql}", "mysql: {}", 'source: "127.0.0.3"'),
        "mysql-denied": (f"127.0.0.2:{sql}", "mysql: {user: probe, password: pw-wrong}",
                         'source: "127.0.0.4"')})
    found = stranger.settled(8)
    expect("mysql-stranger is up", found["mysql-stranger"], True)
    expect("mysql-denied is down", found["mysql-denied"], False)
    expect("mysql-denied: 1045", stranger.cause("mysql-denied"), "the server refuses: 1045")
    counts = mariadb_counts(data)
    expect("and counted only as refused logins",
           counts["Aborted_connects"] == counts["Access_denied_errors"] > 0, True)
    end(stranger.process)


try:
    main()
finally:
    for process in reversed(processes):
        end(process)
    if failures == 0:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"the servers' logs are in {folder}")
print(f"{failures} failed")
sys.exit(1 if failures else 0)
