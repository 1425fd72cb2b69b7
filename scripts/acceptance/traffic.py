"""Sockets for the subjects: endpoints in processes of their own, clients, and how sessions end.

An endpoint that holds many sessions is a process of its own, because the descriptors of both ends
of a session must not come out of one process's limit.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import select
import socket
import struct
import termios
from collections.abc import Callable, Iterator

from harness import Address, settle
from lab import procfs
from lab.proxies import Proxy

# Bounds every wait of a blocking socket: a proxy that hangs fails the check instead.
PATIENCE_SECONDS = 20.0
BACKLOG = 4096

_fork = multiprocessing.get_context("fork")


def listening(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A listening socket, by default on a port that the kernel chooses."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((host, port))
    server.listen(BACKLOG)
    server.settimeout(PATIENCE_SECONDS)
    return server


def address_of(server: socket.socket) -> Address:
    """Where a listening socket listens."""
    host, port = server.getsockname()
    return host, port


def connect(address: Address, receive_buffer: int | None = None) -> socket.socket:
    """A connected client; a small receive buffer must be asked for before connecting."""
    client = socket.socket()
    client.settimeout(PATIENCE_SECONDS)
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        client.connect(address)
    except BaseException:
        client.close()
        raise
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def session(address: Address, server: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A session through the proxy: the client's end and the endpoint's end."""
    client = connect(address)
    try:
        endpoint, _ = server.accept()
    except BaseException:
        client.close()
        raise
    endpoint.settimeout(PATIENCE_SECONDS)
    endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, endpoint


def ping(client: socket.socket, message: bytes = b"ping") -> bool:
    """Sends a message to an echoing endpoint; whether it came back."""
    client.sendall(message)
    return receive_exactly(client, len(message)) == message


def ping_once(address: Address) -> bool:
    """One whole session: connects, sees a message come back, closes."""
    with connect(address) as client:
        return ping(client)


def warm_up(proxy: Proxy, address: Address) -> int:
    """Some whole sessions, so that what a proxy keeps from its first ones is there; returns how
    many descriptors it has afterwards, without any session."""
    for _ in range(64):
        ping_once(address)
    settle(proxy)
    return procfs.descriptors(proxy.pid)


def receive_exactly(client: socket.socket, count: int) -> bytes:
    """So many bytes, or fewer where the stream ends before."""
    received = bytearray()
    while len(received) < count:
        chunk = client.recv(count - len(received))
        if not chunk:
            break
        received += chunk
    return bytes(received)


def reset(end: socket.socket) -> None:
    """Ends a connection by a reset instead of an orderly close."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def unacknowledged(end: socket.socket) -> int:
    """Bytes sent that the other kernel has not acknowledged (SIOCOUTQ)."""
    answer = fcntl.ioctl(end, termios.TIOCOUTQ, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])


@contextlib.contextmanager
def process(work: Callable[..., None], *arguments: object) -> Iterator[multiprocessing.Process]:
    """Runs the work in a process of its own and ends that on the way out."""
    child = _fork.Process(target=work, args=arguments, daemon=True)
    child.start()
    try:
        yield child  # type: ignore[misc]
    finally:
        child.terminate()
        child.join()


@contextlib.contextmanager
def endpoint(work: Callable[..., None], *hosts: str) -> Iterator[list[Address]]:
    """A process that serves; yields where it listens: one port, on every given address."""
    first = listening(hosts[0] if hosts else "127.0.0.1")
    port = address_of(first)[1]
    servers = [first] + [listening(host, port) for host in hosts[1:]]
    with process(work, *servers):
        addresses = [address_of(server) for server in servers]
        for server in servers:
            server.close()
        yield addresses


def echo(*servers: socket.socket) -> None:
    """Serves for ever: sends back what comes, and ends when the other side ends."""
    poll = select.epoll()
    listeners = {server.fileno(): server for server in servers}
    ends: dict[int, socket.socket] = {}
    pending: dict[int, bytes] = {}
    for server in servers:
        server.setblocking(False)
        poll.register(server, select.EPOLLIN)
    while True:
        for descriptor, events in poll.poll():
            if descriptor in listeners:
                with contextlib.suppress(BlockingIOError):
                    for _ in range(64):
                        end, _ = listeners[descriptor].accept()
                        end.setblocking(False)
                        ends[end.fileno()] = end
                        poll.register(end, select.EPOLLIN)
                continue
            end = ends[descriptor]
            try:
                data = pending.pop(descriptor, b"") or end.recv(65_536)
                sent = end.send(data) if data else 0
            except BlockingIOError:
                sent = 0
            except OSError:
                data, sent = b"", 0
            if not data:
                del ends[descriptor]
                end.close()
            elif sent < len(data):
                pending[descriptor] = data[sent:]
                poll.modify(descriptor, select.EPOLLOUT)
            elif events & select.EPOLLOUT:
                poll.modify(descriptor, select.EPOLLIN)


def source(*servers: socket.socket) -> None:
    """Serves for ever: sends zeros to everyone and never stops."""
    poll = select.epoll()
    listeners = {server.fileno(): server for server in servers}
    ends: dict[int, socket.socket] = {}
    zeros = bytes(262_144)
    for server in servers:
        server.setblocking(False)
        poll.register(server, select.EPOLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in listeners:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        end, _ = listeners[descriptor].accept()
                        end.setblocking(False)
                        ends[end.fileno()] = end
                        poll.register(end, select.EPOLLOUT)
                continue
            try:
                ends[descriptor].send(zeros)
            except BlockingIOError:
                continue
            except OSError:
                ends.pop(descriptor).close()
