"""Numbered records on many sessions, and clients that come and go, in processes of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from harness import Address
from traffic import connect, ping, process

ROUND_SECONDS = 0.1
RECORD = struct.Struct("!IQ")

_pipe = multiprocessing.get_context("fork").Pipe


@dataclass
class Tally:
    """What one of the processes below has seen."""

    done: int = 0
    slowest: float = 0.0
    wrong: Counter[str] = field(default_factory=Counter)


def exchange(wire: Connection, address: Address, count: int) -> None:
    """So many sessions, a numbered record on each of them every so often, until told to stop."""
    tally = Tally()
    clients = {client.fileno(): client for client in (connect(address) for _ in range(count))}
    poll = select.epoll()
    for client in clients.values():
        poll.register(client, select.EPOLLIN)
    wire.send(None)
    number = 0
    while not wire.poll():
        number += 1
        start = time.monotonic()
        waiting: dict[int, bytes] = {}
        for descriptor, client in list(clients.items()):
            waiting[descriptor] = RECORD.pack(descriptor, number)
            try:
                client.sendall(waiting[descriptor])
            except OSError as error:
                lose(tally, clients, waiting, descriptor, f"sending: {error}")
        while waiting:
            events = poll.poll(10)
            if not events:
                tally.wrong["no echo for 10 s"] += len(waiting)
                break
            for descriptor, _ in events:
                wanted = waiting.get(descriptor, b"")
                try:
                    part = clients[descriptor].recv(RECORD.size)
                except OSError as error:
                    lose(tally, clients, waiting, descriptor, f"receiving: {error}")
                    continue
                if not part or not wanted.startswith(part):
                    what = "another record" if part else "an end"
                    lose(tally, clients, waiting, descriptor, f"received {what}")
                elif rest := wanted[len(part) :]:
                    waiting[descriptor] = rest
                else:
                    del waiting[descriptor]
                    tally.done += 1
        tally.slowest = max(tally.slowest, time.monotonic() - start)
        time.sleep(max(0.0, start + ROUND_SECONDS - time.monotonic()))
    for client in clients.values():
        client.close()
    wire.send(tally)


def lose(
    tally: Tally,
    clients: dict[int, socket.socket],
    waiting: dict[int, bytes],
    descriptor: int,
    why: str,
) -> None:
    """A session that is of no use any more."""
    tally.wrong[why] += 1
    waiting.pop(descriptor, None)
    clients.pop(descriptor).close()


def come_and_go(wire: Connection, address: Address) -> None:
    """Clients one after the other, until told to stop."""
    tally = Tally()
    wire.send(None)
    while not wire.poll(0.002):
        start = time.monotonic()
        try:
            with connect(address) as client:
                if not ping(client):
                    tally.wrong["no echo"] += 1
        except OSError as error:
            tally.wrong[f"{type(error).__name__}: {error}"] += 1
        tally.done += 1
        tally.slowest = max(tally.slowest, time.monotonic() - start)
    wire.send(tally)


@contextlib.contextmanager
def traffic(work: Callable[..., None], *arguments: object) -> Iterator[Callable[[], Tally]]:
    """Runs that in a process of its own; calling what it yields ends it and returns its tally."""
    ours, theirs = _pipe()

    def end() -> Tally:
        ours.send("stop")
        if not ours.poll(30):
            raise TimeoutError("the traffic does not end")
        tally = ours.recv()
        assert isinstance(tally, Tally)
        return tally

    with process(work, theirs, *arguments):
        if not ours.poll(30):
            raise TimeoutError("the traffic does not begin")
        ours.recv()
        yield end
