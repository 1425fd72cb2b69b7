"""Endpoints that say their name, and clients that hear it: who serves whom is known at once."""

from __future__ import annotations

import contextlib
import select
import socket
from collections import Counter
from collections.abc import Iterable

from harness import Address, text
from traffic import connect, receive_exactly

# A client that begins with this is not read from any more.
HOLD = b"HOLD"
NAME_BYTES = 1


def serve(servers: dict[socket.socket, bytes]) -> None:
    """Serves for ever: says the name that belongs to the socket, and echoes what comes then."""
    poll = select.epoll()
    listeners = {server.fileno(): (server, name) for server, name in servers.items()}
    ends: dict[int, socket.socket] = {}
    for server in servers:
        server.setblocking(False)
        poll.register(server, select.EPOLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in listeners:
                server, name = listeners[descriptor]
                with contextlib.suppress(OSError):
                    end, _ = server.accept()
                    end.sendall(name)
                    ends[end.fileno()] = end
                    poll.register(end, select.EPOLLIN)
                continue
            end = ends[descriptor]
            try:
                data = end.recv(65_536)
                if data.startswith(HOLD):
                    poll.unregister(end)
                    data = HOLD
                end.sendall(data)
            except OSError:
                data = b""
            if not data:
                ends.pop(descriptor).close()


class Client:
    """A session whose endpoint has said its name."""

    def __init__(self, address: Address) -> None:
        self.end = connect(address)
        self.local = text(self.end.getsockname())
        try:
            self.name = receive_exactly(self.end, NAME_BYTES).decode()
            if not self.name:
                raise ConnectionError("ended before its endpoint had said its name")
        except BaseException:
            self.end.close()
            raise

    def is_alive(self) -> bool:
        """Whether a message comes back."""
        try:
            self.end.sendall(b"message")
            return receive_exactly(self.end, 7) == b"message"
        except OSError:
            return False

    def upload(self) -> None:
        """Sends until nothing more is taken, to an endpoint that then does not read."""
        self.end.sendall(HOLD)
        receive_exactly(self.end, len(HOLD))
        self.end.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while True:
                self.end.sendall(bytes(65_536))
        self.end.settimeout(5)

    def outcome(self) -> str:
        """How the stream ends for a client that reads."""
        try:
            while self.end.recv(65_536):
                pass
            return "end"
        except OSError as error:
            return "reset" if isinstance(error, ConnectionResetError) else str(error)

    def close(self) -> None:
        """Closes in order."""
        self.end.close()


def close(clients: Iterable[Client]) -> None:
    """All of them close."""
    for client in clients:
        client.close()


def served_by(address: Address, count: int) -> Counter[str]:
    """Which endpoints serve so many new sessions."""
    names: Counter[str] = Counter()
    for _ in range(count):
        client = Client(address)
        names[client.name] += 1
        client.close()
    return names


def spread(names: Counter[str]) -> str:
    """How many each served."""
    return ", ".join(f"{count} by {name}" for name, count in sorted(names.items())) or "none served"
