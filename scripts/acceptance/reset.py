"""A reset on either side reaches the other as a reset, after what was sent before it.

The kernel of the side that resets throws away what it has not sent yet; so a case resets only once
everything sent was acknowledged (by the proxy's kernel). The other side then must get every byte,
and after them ECONNRESET: while it reads all along, when it starts to read after the reset was
sent, and, for what fits into its receive buffer, when it looks only after the reset arrived.
"""

from __future__ import annotations

import itertools
import select
import socket
import threading
import time
from dataclasses import dataclass

from harness import Report, single_route
from lab.proxies import free_port, wait_until
from traffic import address_of, connect, listening, reset, session, unacknowledged

SIZES = (0, 1, 100, 4_096, 65_536, 262_144, 1_048_576)
REPEATS = 3
PATTERN = bytes(range(251)) * 4_200


@dataclass
class Outcome:
    """What a reader got: bytes, and how the stream ended."""

    received: bytes = b""
    end: str = "nothing"

    def read_from(self, end: socket.socket) -> None:
        """Reads until the stream ends in one way or another."""
        chunks: list[bytes] = []
        try:
            while chunk := end.recv(65_536):
                chunks.append(chunk)
            self.end = "an orderly end"
        except ConnectionResetError:
            self.end = "reset"
        except OSError as error:
            self.end = str(error)
        self.received = b"".join(chunks)


def reset_case(
    sender: socket.socket, reader: socket.socket, size: int, manner: str
) -> tuple[Outcome, str]:
    """Sends, resets, and tells what the reader got and in which manner it was really read."""
    outcome = Outcome()
    reading = threading.Thread(target=outcome.read_from, args=(reader,), daemon=True)
    sending = threading.Thread(target=sender.sendall, args=(PATTERN[:size],), daemon=True)
    if manner == "reading":
        reading.start()
    sending.start()

    def is_acknowledged() -> bool:
        return not sending.is_alive() and unacknowledged(sender) == 0

    try:
        wait_until(is_acknowledged, 2, "acknowledgement")
    except TimeoutError:
        if manner == "reading":
            raise
        # More than proxy and kernels hold: it cannot be reset unread without loss. Read then.
        manner = "reading"
        reading.start()
        wait_until(is_acknowledged, 5, "acknowledgement")
    reset(sender)
    if manner == "when it arrived":
        poll = select.poll()
        poll.register(reader, select.POLLRDHUP)
        poll.poll(5_000)
    if manner != "reading":
        reading.start()
    reading.join(timeout=20)
    return outcome, manner


def run(report: Report, kind: str) -> None:
    """Resets from both sides in all manners, then the ends that the proxy itself causes."""
    server = listening()
    proxy, [address] = single_route(kind, [address_of(server)])
    with server, proxy:
        for side, manner in itertools.product(
            ("client", "endpoint"), ("reading", "after it was sent", "when it arrived")
        ):
            wrong: list[str] = []
            count = fallen_back = 0
            sizes = [size for size in SIZES if manner != "when it arrived" or size <= 4_096]
            for size in sizes * REPEATS:
                client, endpoint = session(address, server)
                sender, reader = (client, endpoint) if side == "client" else (endpoint, client)
                with client, endpoint:
                    outcome, used = reset_case(sender, reader, size, manner)
                count += 1
                fallen_back += used != manner
                if outcome.received != PATTERN[:size] or outcome.end != "reset":
                    wrong.append(f"{len(outcome.received)} of {size} B, then {outcome.end}")
            seen = f"{count - len(wrong)} of {count} right"
            if fallen_back:
                seen += f", {fallen_back} too large to be left unread"
            if wrong:
                seen += "; " + ", ".join(sorted(set(wrong))[:4])
            report.check(f"the {side} resets, the other reads: {manner}", not wrong, seen)
    idle_timeout(report, kind)
    no_endpoint(report, kind)
    drain_deadline(report, kind)


def idle_timeout(report: Report, kind: str) -> None:
    """A session that nothing passes through is reset on both sides."""
    server = listening()
    proxy, [address] = single_route(kind, [address_of(server)], idle="300ms")
    with server, proxy:
        client, endpoint = session(address, server)
        start = time.monotonic()
        with client, endpoint:
            ends = []
            for end in (client, endpoint):
                outcome = Outcome()
                outcome.read_from(end)
                ends.append(outcome.end)
        elapsed = time.monotonic() - start
    report.check(
        "idle for 300 ms: both sides are reset",
        ends == ["reset", "reset"] and 0.2 < elapsed < 2,
        f"client: {ends[0]}, endpoint: {ends[1]}, after {elapsed:.2f} s",
    )


def no_endpoint(report: Report, kind: str) -> None:
    """A client that no endpoint serves must not take that for an empty reply."""
    proxy, [address] = single_route(kind, [("127.0.0.1", free_port())])
    outcome = Outcome()
    with proxy:
        try:
            with connect(address) as client:
                outcome.read_from(client)
        except ConnectionResetError:
            outcome.end = "reset"  # before connect(2) had returned
    report.check("no endpoint answers: the client is reset", outcome.end == "reset", outcome.end)


def drain_deadline(report: Report, kind: str) -> None:
    """SIGTERM, and a session that does not end by itself: reset when the drain's time is up."""
    server = listening()
    proxy, [address] = single_route(kind, [address_of(server)], drain="500ms")
    with server, proxy:
        client, endpoint = session(address, server)
        with client, endpoint:
            client.sendall(b"x")
            endpoint.recv(1)
            start = time.monotonic()
            proxy.terminate()
            ends = []
            for end in (client, endpoint):
                outcome = Outcome()
                outcome.read_from(end)
                ends.append(outcome.end)
            elapsed = time.monotonic() - start
            code = proxy.process.wait(timeout=10)
        report.check(
            "a drain of 500 ms runs out: both sides are reset",
            ends == ["reset", "reset"] and 0.3 < elapsed < 5 and code == 0,
            f"client: {ends[0]}, endpoint: {ends[1]}, after {elapsed:.2f} s, exit code {code}",
        )
