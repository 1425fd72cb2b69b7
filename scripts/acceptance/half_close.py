"""A side that sends, closes its write half and waits gets the whole reply that comes later."""

from __future__ import annotations

import socket
import threading
import time

from harness import Report, mib, single_route
from traffic import address_of, listening, receive_exactly, session

REQUEST = b"x" * 65_536
REPLY_BYTES = 10 * 2**20
REPLY_AFTER_SECONDS = 1.0


def answer_late(end: socket.socket) -> None:
    """Reads the request to its end, lets a second pass, then sends the reply and closes."""
    request = b""
    while chunk := end.recv(65_536):
        request += chunk
    time.sleep(REPLY_AFTER_SECONDS)  # the case itself: the reply comes a second later
    if request == REQUEST:
        end.sendall(b"y" * REPLY_BYTES)
    end.close()


def run(report: Report, kind: str) -> None:
    """The client asks the endpoint, then the endpoint asks the client."""
    server = listening()
    proxy, [address] = single_route(kind, [address_of(server)])
    with server, proxy:
        for asks in ("client", "endpoint"):
            client, endpoint = session(address, server)
            asking, answering = (client, endpoint) if asks == "client" else (endpoint, client)
            replying = threading.Thread(target=answer_late, args=(answering,), daemon=True)
            start = time.monotonic()
            replying.start()
            with asking:
                asking.sendall(REQUEST)
                asking.shutdown(socket.SHUT_WR)
                seen = ""
                reply, rest = b"", b"?"
                try:
                    reply = receive_exactly(asking, REPLY_BYTES)
                    rest = asking.recv(1)
                except OSError as error:
                    seen = f", {error}"
            replying.join(timeout=5)
            whole = reply == b"y" * REPLY_BYTES and rest == b""
            seen = f"{mib(len(reply))} and the end after {time.monotonic() - start:.2f} s{seen}"
            report.check(f"the {asks} closes its write half, then reads", whole, seen)
