"""The loopback that a measurement runs on."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
# What Debian and Ubuntu ship, and what paces nothing: bbr sets a timer for every segment, on
# loopback too, and that costs several times what any proxy does.
PREFERRED = "cubic"

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def isolate() -> str:
    """Moves this process, and all it starts from now on, into a network of its own where it may.

    Nobody else's traffic, firewall rules or settings are there, so that machines compare. The
    network goes with its last process. Returns in words where the process is now.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        reason = os.strerror(ctypes.get_errno())
        return f"the machine's own ({reason}), {congestion()}"
    _raise_loopback()
    try:
        CONGESTION.write_text(PREFERRED, encoding="ascii")
    except OSError:  # a kernel without it; what it has instead is said below
        pass
    return f"a namespace of its own, {congestion()}"


def congestion() -> str:
    """The congestion control of new connections, in words."""
    return f"TCP congestion control {CONGESTION.read_text(encoding='ascii').strip()}"


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        request = struct.pack("16sh14x", b"lo", flags | IFF_UP)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)
