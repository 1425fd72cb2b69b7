"""256 MiB of random data each way at once through one session: checksums equal.

Once in large writes, which a proxy may splice, and once in writes of 1 B to 1 MiB, between which
it has to change its ways while the stream goes on.
"""

from __future__ import annotations

import hashlib
import random
import socket
import threading
import time
from collections.abc import Iterator

from harness import Report, mib, single_route
from traffic import address_of, listening, session

BULK_BYTES = 256 * 2**20
MIXED_BYTES = 48 * 2**20
BLOCK_BYTES = 2**20


def blocks_of_equal_size(dice: random.Random) -> Iterator[bytes]:
    for _ in range(BULK_BYTES // BLOCK_BYTES):
        yield dice.randbytes(BLOCK_BYTES)


def blocks_of_mixed_sizes(dice: random.Random) -> Iterator[bytes]:
    left = MIXED_BYTES
    while left > 0:
        size = min(left, int(2 ** dice.uniform(0, 20)))
        left -= size
        yield dice.randbytes(size)


class Direction:
    """One end sends, the other receives; both take the checksum of what passes."""

    def __init__(self, sender: socket.socket, receiver: socket.socket, blocks: Iterator[bytes]):
        self.sent, self.received = hashlib.sha256(), hashlib.sha256()
        self.bytes_sent = self.bytes_received = 0
        self.error: Exception | None = None
        self.threads = [
            threading.Thread(target=self._guard, args=(self._send, sender, blocks), daemon=True),
            threading.Thread(target=self._guard, args=(self._receive, receiver), daemon=True),
        ]

    @property
    def is_equal(self) -> bool:
        return self.error is None and self.sent.digest() == self.received.digest()

    def _guard(self, work, *arguments) -> None:  # type: ignore[no-untyped-def]
        try:
            work(*arguments)
        except OSError as error:
            self.error = error

    def _send(self, sender: socket.socket, blocks: Iterator[bytes]) -> None:
        for block in blocks:
            self.sent.update(block)
            sender.sendall(block)
            self.bytes_sent += len(block)
        sender.shutdown(socket.SHUT_WR)

    def _receive(self, receiver: socket.socket) -> None:
        buffer = bytearray(BLOCK_BYTES)
        view = memoryview(buffer)
        while count := receiver.recv_into(buffer):
            self.received.update(view[:count])
            self.bytes_received += count


def run(report: Report, kind: str) -> None:
    """One session for each manner of writing."""
    server = listening()
    proxy, [address] = single_route(kind, [address_of(server)])
    with server, proxy:
        for name, blocks, each in (
            ("large writes", blocks_of_equal_size, BULK_BYTES),
            ("writes of 1 B to 1 MiB", blocks_of_mixed_sizes, MIXED_BYTES),
        ):
            client, endpoint = session(address, server)
            with client, endpoint:
                start = time.monotonic()
                up = Direction(client, endpoint, blocks(random.Random(1)))
                down = Direction(endpoint, client, blocks(random.Random(2)))
                threads = up.threads + down.threads
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(timeout=60)
                seconds = time.monotonic() - start
            for direction, label in ((up, "up"), (down, "down")):
                seen = f"{mib(direction.bytes_received)} of {mib(each)} in {seconds:.1f} s"
                if direction.error:
                    seen += f", {direction.error}"
                whole = direction.bytes_received == each
                report.check(f"{name}, {label}", whole and direction.is_equal, seen)
