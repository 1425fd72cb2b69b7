"""Runs the cells of the matrix of ends through one proxy, many at the same time."""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field

from ends_matrix import (
    ANSWER_BYTES,
    CLOSE,
    FINISH,
    FLUSH_TIMEOUT,
    LATE,
    LATE_SECONDS,
    NEVER,
    NEVER_SECONDS,
    ONE,
    RESETS,
    SENDS,
    SHORT_FLUSH,
    SILENT,
    STREAM_BYTES,
    UNREAD,
    Cell,
    Result,
    cells,
)
from ends_proxy import Way, configuration
from ends_sockets import (
    EPIPE,
    FAMILIES,
    ORDERLY,
    RESET,
    Reader,
    Spot,
    Spots,
    no_delay,
    pattern,
    reset,
    wait_acknowledged,
)
from lab.proxies import Proxy, Route, Settings, share_ports
from lab.sluice import Sluice

AT_ONCE = 80
RECEIVE_BUFFER_BYTES = 16_384
# Without a byte for so long, a stream is taken to stay open.
PATIENCE_SECONDS = 20.0
SILENCE_SECONDS = 4.0
FLOOD_BLOCK_BYTES = 16_384
FLOOD_BYTES_MAX = 2_000_000
# How long a flood goes on once the reader has seen the end.
FLOOD_AFTER_SECONDS = 6.0


@dataclass
class Door:
    """A route: where clients connect, and where the endpoint accepts."""

    listen: Spot
    server: socket.socket
    lock: threading.Lock = field(default_factory=threading.Lock)

    def session(self) -> tuple[socket.socket, socket.socket]:
        """The two ends of a new session, one at a time so that they belong together."""
        with self.lock:
            client = self.listen.connect(RECEIVE_BUFFER_BYTES)
            endpoint, _ = self.server.accept()
        endpoint.settimeout(PATIENCE_SECONDS)
        client.settimeout(PATIENCE_SECONDS)
        no_delay(endpoint)
        return client, endpoint


Doors = Mapping[tuple[str, str, bool], Door]


@contextlib.contextmanager
def doors(kind: str, splice: bool) -> Iterator[Doors]:
    """A proxy with a route for each kind of listener and endpoint and each flush_timeout."""
    with contextlib.ExitStack() as stack:
        spots = stack.enter_context(Spots())
        found: dict[tuple[str, str, bool], Door] = {}
        ways: dict[str, Way] = {}
        for number, key in enumerate(itertools.product(FAMILIES, FAMILIES, (False, True))):
            listen, target = spots.new(key[0]), spots.new(key[1])
            server = stack.enter_context(target.listen())
            if key[1] == "tcp":  # accepted connections inherit it
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            server.settimeout(PATIENCE_SECONDS)
            found[key] = Door(listen, server)
            route = {"flush_timeout": FLUSH_TIMEOUT} if key[2] else {}
            ways[f"r{number}"] = Way(listen, [target], route)
        if kind == "sluice":
            top = {} if splice else {"relay": "{pipes: 0}"}
            stack.enter_context(Sluice(configuration(ways, top)))
        else:
            # Every timeout of the others is a minute: longer than any cell.
            routes = [
                Route(name, [way.listen.text], [way.endpoints[0].text], "1m")
                for name, way in ways.items()
            ]
            settings = Settings(routes, splice="forced" if splice else "off")
            stack.enter_context(Proxy(kind, settings))
            time.sleep(0.5)  # sockets of the unix kind are not waited for
        yield found


class Run:
    """One cell."""

    def __init__(self, cell: Cell, door: Door) -> None:
        self.cell = cell
        client, endpoint = door.session()
        is_download = cell.side == "endpoint"
        self.source, self.sink = (endpoint, client) if is_download else (client, endpoint)
        self.ended = threading.Event()
        self.writes = ""
        self.answered = 0
        self.is_acknowledged = True

    def result(self) -> Result:
        """Lets both sides do what the cell says, and tells what they saw."""
        cell = self.cell
        silence = SILENCE_SECONDS if cell.end == SILENT else PATIENCE_SECONDS
        reader = Reader(self.sink, cell.rate, seconds=silence)
        back = Reader(self.source)
        threads = [threading.Thread(target=self._send, daemon=True)]
        if cell.manner in SENDS:
            threads.append(threading.Thread(target=self._send_more, args=(reader,), daemon=True))
        if cell.end == UNREAD:
            self.sink.sendall(b"unread")
            self._await_input()
        for thread in threads:
            thread.start()
        if cell.end == FINISH:
            back.start()
        if cell.manner == LATE:
            time.sleep(LATE_SECONDS)
        elif cell.manner == NEVER:
            time.sleep(NEVER_SECONDS)
        reader.start()
        reader.join(60)
        for thread in threads:
            thread.join(30)
        if cell.end == FINISH:
            self._answer()
            back.join(30)
        for end in (self.source, self.sink):
            end.close()
        ending = reader.ending
        if ending == ORDERLY and self.writes == RESET:
            # The kernel reports a reset once. If a write got it, a read sees an end of stream.
            ending = RESET
        return Result(
            cell,
            reader.received,
            ending,
            reader.is_intact,
            self.writes,
            self.answered,
            back.received,
            back.ending,
            self.is_acknowledged,
        )

    def _await_input(self) -> None:
        """Until what the other side has sent is there to be left unread."""
        self.source.recv(1, socket.MSG_PEEK)

    def _send(self) -> None:
        """The source: the stream, and its end."""
        end = self.cell.end
        try:
            self.source.sendall(pattern(STREAM_BYTES))
            if end == FINISH:
                self.source.shutdown(socket.SHUT_WR)
            elif end != SILENT:
                # What a kernel has not sent when its side fails is lost, whatever a proxy does. A
                # side that has closed fails when a byte arrives for it: its kernel sends a reset.
                can_lose = end != CLOSE or self.cell.manner in SENDS
                if can_lose and self.source.family == socket.AF_INET:
                    self._wait_acknowledged()
                if end == RESETS:
                    reset(self.source)
                else:
                    self.source.close()
        except OSError as error:
            self.is_acknowledged = False
            self.writes = f"the source could not send: {error}"
        finally:
            self.ended.set()

    def _wait_acknowledged(self) -> None:
        try:
            wait_acknowledged(self.source, 12)
        except TimeoutError:
            self.is_acknowledged = False

    def _send_more(self, reader: Reader) -> None:
        """The reader sends, too. To a side that closes with nothing unread, once it has closed."""
        if self.cell.manner == ONE or self.cell.end == CLOSE:
            self.ended.wait(30)
        count = 1 if self.cell.manner == ONE else FLOOD_BLOCK_BYTES
        seen_end: float | None = None
        self.writes = "goes on"
        try:
            while True:
                self.sink.sendall(pattern(count, self.answered))
                self.answered += count
                if self.cell.manner == ONE:
                    return
                if self.answered >= FLOOD_BYTES_MAX and self.cell.end in (FINISH, SILENT):
                    return
                time.sleep(0.01)
                if not reader.is_alive() and reader.ident is not None:
                    seen_end = seen_end or time.monotonic()
                    if time.monotonic() - seen_end > FLOOD_AFTER_SECONDS:
                        return
        except TimeoutError:
            self.writes = "blocked"
        except OSError as error:
            names = {errno.EPIPE: EPIPE, errno.ECONNRESET: RESET}
            self.writes = names.get(error.errno or 0, str(error))

    def _answer(self) -> None:
        """What the reader sends once it has seen the end, before it closes in order."""
        with contextlib.suppress(OSError):
            if self.cell.manner not in SENDS:
                self.sink.sendall(pattern(ANSWER_BYTES, self.answered))
                self.answered += ANSWER_BYTES
            self.sink.shutdown(socket.SHUT_WR)


def run_cell(cell: Cell, found: Doors) -> Result:
    """One cell; what goes wrong in the test itself is its result."""
    door = found[cell.listener, cell.endpoint, cell.manner in SHORT_FLUSH]
    try:
        return Run(cell, door).result()
    except OSError as error:
        return Result(cell, 0, "", False, trouble=f"{type(error).__name__}: {error}")


def run_through(kind: str, splice: bool, ports: tuple[int, int]) -> list[Result]:
    """All cells through one proxy."""
    share_ports(*ports)
    with doors(kind, splice) as found, ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda cell: run_cell(cell, found), cells()))


def modes(kind: str) -> tuple[bool, ...]:
    """With splice(2) and without, where the proxy has it."""
    return (False,) if kind == "nginx" else (False, True)


def run_matrix(*kinds: str) -> dict[str, list[tuple[bool, Result]]]:
    """The results of all cells by kind of proxy, with whether splicing was on."""
    jobs = [(kind, splice) for kind in kinds for splice in modes(kind)]
    results: dict[str, list[tuple[bool, Result]]] = {kind: [] for kind in kinds}
    with ProcessPoolExecutor(2) as pool:
        futures = [
            pool.submit(run_through, *job, (index, len(jobs))) for index, job in enumerate(jobs)
        ]
        for (kind, splice), future in zip(jobs, futures, strict=True):
            results[kind] += [(splice, result) for result in future.result()]
    return results
