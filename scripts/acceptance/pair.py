"""Endpoints that are killed and stopped, each a process of its own, and a proxy's file for them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from harness import Address, text
from lab.proxies import wait_until
from named import serve
from traffic import address_of, listening, process


@dataclass
class Endpoint:
    """A process that serves."""

    name: str
    address: Address
    pid: int

    def kill(self) -> float:
        """SIGKILL; returns when it is gone, with all that it had open, and what time it is then."""
        os.kill(self.pid, signal.SIGKILL)
        # Its parent collects it later: the entry of a process that has ended is still there.
        wait_until(lambda: not os.listdir(f"/proc/{self.pid}/fd"), 5, "its descriptors to go")
        return time.time()


def serve_http(server: socket.socket) -> None:
    """Serves for ever: answers every request with 200."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    server.settimeout(None)
    while True:
        with contextlib.suppress(OSError):
            end, _ = server.accept()
            with end:
                end.settimeout(1)
                end.recv(4_096)
                end.sendall(answer)


def serve_both(server: socket.socket, http: socket.socket, name: str) -> None:
    """The whole endpoint: sessions, and a port that is asked for its health."""
    threading.Thread(target=serve_http, args=(http,), daemon=True).start()
    serve({server: name.encode()})


@contextlib.contextmanager
def running(name: str, host: str = "127.0.0.1", asked: int = 0) -> Iterator[Endpoint]:
    """An endpoint that is ended on the way out, even when it is stopped. `asked` is the port at
    which it answers HTTP."""
    server, http = listening(host), listening(host, asked)
    address = address_of(server)
    with process(serve_both, server, http, name) as child:
        server.close()
        http.close()
        assert child.pid is not None
        try:
            yield Endpoint(name, address, child.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGCONT)


def configuration(
    listen: dict[str, Address], endpoints: list[Endpoint], checks: dict[str, str] | None = None
) -> str:
    """A route for each listening address, with an upstream of its own that has all endpoints."""
    lines = ["workers: 2", "log: {access: stdout}", "shutdown: {drain: 1s}", "routes:"]
    for name, address in listen.items():
        lines.append(f'  {name}: {{listen: "{text(address)}", to: {name}}}')
    lines.append("upstreams:")
    for name in listen:
        lines += [f"  {name}:", "    endpoints:"]
        lines += [f'      - "{text(endpoint.address)}"' for endpoint in endpoints]
        if checks:
            lines.append(f"    check: {checks[name]}")
    return "\n".join(lines) + "\n"
