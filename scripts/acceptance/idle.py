"""9,000 idle sessions: under 512 B of user-space memory each, and no CPU.

Every session first passes a message and its echo, so that all are complete; at the end each does
so again, so that none was lost. The endpoint is a process of its own: 9,000 sockets there, 9,000
here and 18,000 in the proxy. Where the limit of open files is too low for that, it fails and says so.
"""

from __future__ import annotations

from harness import Report, check_descriptors, check_no_cpu, settle, single_route
from lab import procfs
from lab.proxies import Room, hard_descriptor_limit
from traffic import connect, echo, endpoint, ping, warm_up

SESSIONS = 9_000
BYTES_PER_SESSION_MAX = 512


def run(report: Report, kind: str) -> None:
    """Memory before and with them, CPU, and that all are alive."""
    limit = hard_descriptor_limit()
    if Room(limit).sessions < SESSIONS:
        report.check(
            f"room for {SESSIONS} sessions",
            False,
            f"the open-files limit of {limit} has room for {Room(limit).sessions}; raise it "
            "(ulimit -Hn) and try again",
        )
        return
    with endpoint(echo) as endpoints:
        proxy, [address] = single_route(kind, endpoints)
        with proxy:
            descriptors = warm_up(proxy, address)
            memory = procfs.pss_bytes(proxy.pid)
            buffers, slab = procfs.kernel_socket_bytes()

            clients = []
            for _ in range(SESSIONS):
                client = connect(address)
                ping(client)
                clients.append(client)
            settle(proxy)
            each = (procfs.pss_bytes(proxy.pid) - memory) / SESSIONS
            report.check(
                f"user-space memory of {SESSIONS} idle sessions",
                each < BYTES_PER_SESSION_MAX,
                f"{each:.0f} B each, {procfs.descriptors(proxy.pid)} descriptors",
            )
            buffers_now, slab_now = procfs.kernel_socket_bytes()
            report.note(
                f"kernel memory beside it, four sockets a session (client and endpoint included): "
                f"{(slab_now - slab) / SESSIONS:.0f} B of slab, "
                f"{(buffers_now - buffers) / SESSIONS:.0f} B of TCP buffers each"
            )
            check_no_cpu(report, "CPU while they idle", proxy)
            alive = sum(ping(client) for client in clients)
            report.check("all still pass bytes", alive == SESSIONS, f"{alive} of {SESSIONS}")
            for client in clients:
                client.close()
            check_descriptors(report, proxy, descriptors)
