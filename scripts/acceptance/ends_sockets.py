"""Sockets for the checks of how sessions end: TCP and unix alike, readers at a pace, endpoints.

Streams carry a pattern whose bytes depend on their position, so that a lost, doubled or reordered
byte is noticed and not only a wrong count.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from traffic import unacknowledged

from lab.proxies import free_port, wait_until

FAMILIES = ("tcp", "unix")
# How a stream ended, as its reader saw it.
ORDERLY, RESET, TIMEOUT, OPEN = "orderly end", "reset", "timeout", "still open"
# How writing ended, besides a reset.
EPIPE = "EPIPE"
# A small receive buffer: what a slow reader has not read waits in the proxy, where it can be lost.
SMALL_BUFFER_BYTES = 8_192
READ_BYTES = 65_536
_PERIOD = bytes(range(251))
_PATTERN = _PERIOD * (4 * READ_BYTES // len(_PERIOD) + 2)


def pattern(count: int, start: int = 0) -> bytes:
    """Bytes of the pattern from a position on."""
    offset = start % len(_PERIOD)
    if offset + count <= len(_PATTERN):
        return _PATTERN[offset : offset + count]
    periods = (offset + count) // len(_PERIOD) + 1
    return (_PERIOD * periods)[offset : offset + count]


@dataclass(frozen=True)
class Spot:
    """An address to listen at, TCP or unix."""

    family: str
    target: tuple[str, int] | str

    @property
    def text(self) -> str:
        """As configuration files have it."""
        if isinstance(self.target, str):
            return f"unix:{self.target}"
        return f"{self.target[0]}:{self.target[1]}"

    def unconnected(self) -> socket.socket:
        """A new socket of this family."""
        return socket.socket(socket.AF_UNIX if self.family == "unix" else socket.AF_INET)

    def listen(self, backlog: int = 1024) -> socket.socket:
        """A socket that listens there."""
        server = self.unconnected()
        if self.family == "tcp":
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(self.target)
        if isinstance(self.target, str):
            os.chmod(self.target, 0o666)
        server.listen(backlog)
        return server

    def connect(self, receive_buffer: int | None = None, seconds: float = 20) -> socket.socket:
        """A connected client. A receive buffer has to be set before connecting."""
        client = self.unconnected()
        client.settimeout(seconds)
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            client.connect(self.target)
        except BaseException:
            client.close()
            raise
        no_delay(client)
        return client


class Spots:
    """Addresses that nothing else uses. Unix sockets are in a folder that goes with this object."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sluice-ends-"))
        self._folder.chmod(0o777)  # nginx's worker gives up root
        self._numbers = itertools.count()

    def __enter__(self) -> Spots:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def new(self, family: str = "tcp") -> Spot:
        """The next address of the family."""
        if family == "unix":
            return Spot("unix", str(self._folder / f"{next(self._numbers)}.sock"))
        return Spot("tcp", ("127.0.0.1", free_port()))


def no_delay(end: socket.socket) -> None:
    """Small segments are sent at once."""
    if end.family == socket.AF_INET:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def reset(end: socket.socket) -> None:
    """Closes with a reset. A unix socket has none: it is closed."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def wait_acknowledged(end: socket.socket, seconds: float = 15) -> None:
    """Until the kernel of the other side has all that was sent (TCP), or its owner (unix)."""
    wait_until(lambda: unacknowledged(end) == 0, seconds, "acknowledgement")


class Reader(threading.Thread):
    """Reads a stream of the pattern to its end, at a pace, and tells how much and which end.

    `rate` is in bytes per second: small reads without a pause. Reading begins with `start`.
    `limit` stops reading after so many bytes, `until` (an event) at any time.
    """

    def __init__(
        self,
        end: socket.socket,
        rate: float | None = None,
        limit: int | None = None,
        until: threading.Event | None = None,
        seconds: float = 30,
    ) -> None:
        super().__init__(daemon=True)
        self.socket = end
        self.rate, self.limit, self.until = rate, limit, until
        self.received = 0
        self.is_intact = True
        self.ending = OPEN
        end.settimeout(seconds)

    def run(self) -> None:
        """Reads until the stream ends in one way or another."""
        began = time.monotonic()
        size = READ_BYTES if self.rate is None else max(1, int(self.rate / 20))
        try:
            while not self._is_over():
                wanted = size if self.limit is None else min(size, self.limit - self.received)
                chunk = self.socket.recv(wanted)
                if not chunk:
                    self.ending = ORDERLY
                    return
                self.is_intact &= chunk == pattern(len(chunk), self.received)
                self.received += len(chunk)
                if self.rate is not None:
                    due = began + self.received / self.rate
                    time.sleep(max(0.0, min(due - time.monotonic(), 0.2)))
        except ConnectionResetError:
            self.ending = RESET
        except TimeoutError:
            self.ending = TIMEOUT
        except OSError as error:
            self.ending = os.strerror(error.errno) if error.errno else str(error)

    def _is_over(self) -> bool:
        if self.until is not None and self.until.is_set():
            return True
        return self.limit is not None and self.received >= self.limit

    def finish(self, seconds: float) -> Reader:
        """Waits for the end of reading, for so long at most."""
        self.join(seconds)
        return self

    def has(self, count: int, *endings: str) -> bool:
        """Whether exactly so many bytes arrived, unchanged, and the stream ended like that."""
        return self.received == count and self.is_intact and self.ending in endings

    @property
    def figure(self) -> str:
        """What arrived, in words."""
        damage = "" if self.is_intact else " (not those that were sent)"
        return f"{self.received:,} B{damage}, {self.ending}"


class Endpoint:
    """An endpoint in threads. Each accepted connection is given to `serve`."""

    def __init__(
        self, spot: Spot, serve: Callable[[socket.socket], None], backlog: int = 1024
    ) -> None:
        self.spot = spot
        self.accepted = 0
        self._serve = serve
        self._server = spot.listen(backlog)
        self._is_closed = False

    def __enter__(self) -> Endpoint:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while not self._is_closed:
            with contextlib.suppress(OSError):
                end, _ = self._server.accept()
                self.accepted += 1
                threading.Thread(target=self._guard, args=(end,), daemon=True).start()

    def _guard(self, end: socket.socket) -> None:
        with end, contextlib.suppress(OSError):
            end.settimeout(120)
            no_delay(end)
            self._serve(end)


def echo(end: socket.socket) -> None:
    """Sends back what comes, and ends when the other side ends."""
    while data := end.recv(READ_BYTES):
        end.sendall(data)


@contextlib.contextmanager
def crowded(server: socket.socket, spot: Spot) -> Iterator[None]:
    """Within, the accept queue of a socket that listens with a backlog of 0 is full: the kernel
    drops what asks for a connection (TCP). Nothing is accepted meanwhile; afterwards it may be."""
    waiting: list[socket.socket] = []
    try:
        for _ in range(8):
            client = spot.unconnected()
            client.settimeout(0.3)
            try:
                client.connect(spot.target)
            except (TimeoutError, BlockingIOError):
                client.close()
                break
            waiting.append(client)
        else:
            raise AssertionError("the accept queue does not fill")
        yield
    finally:
        for client in waiting:
            client.close()
