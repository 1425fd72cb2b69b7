"""What the kernel says about a process: CPU time, memory, descriptors, listening ports.

Every reader takes the whole tree below a process, because nginx does its work in children.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TCP_LISTEN = "0A"


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants that still live."""
    pids = [pid]
    for parent in pids:
        for task in _listdir(f"/proc/{parent}/task"):
            children = _read(f"/proc/{parent}/task/{task}/children")
            pids.extend(int(child) for child in children.split())
    return pids


def cpu_seconds(pid: int) -> float:
    """CPU time of the process tree, user and system together, to the nanosecond.

    The clock of another process (clock_getcpuclockid) is the sum from which the kernel derives the
    utime and stime of /proc/PID/stat, without their rounding to 10 ms.
    """
    total = 0.0
    for member in process_tree(pid):
        try:
            total += time.clock_gettime((~member << 3) | 2)
        except OSError:
            continue  # ended between the listing and the reading
    return total


def cpu_split(pid: int) -> tuple[float, float]:
    """User and system seconds of the process tree, in steps of 10 ms."""
    user = system = 0
    for member in process_tree(pid):
        fields = _read(f"/proc/{member}/stat").rpartition(")")[2].split()
        if len(fields) > 12:
            user += int(fields[11])
            system += int(fields[12])
    return user / TICKS_PER_SECOND, system / TICKS_PER_SECOND


def thread_cpu_seconds(pid: int) -> dict[str, float]:
    """CPU time of each thread of the tree, by `name/thread id`."""
    times: dict[str, float] = {}
    for member in process_tree(pid):
        for task in _listdir(f"/proc/{member}/task"):
            name = _read(f"/proc/{member}/task/{task}/comm").strip()
            spent = _read(f"/proc/{member}/task/{task}/schedstat").split()
            if name and spent:
                times[f"{name}/{task}"] = int(spent[0]) / 1e9
    return times


def core_ticks(cores: Collection[int]) -> list[int]:
    """What these cores have done since the machine's start, in ticks, all together: user, nice,
    system, idle, iowait, irq, softirq, steal. (Guests are in user already, proc_stat(5).)"""
    names = {f"cpu{core}" for core in cores}
    sums = [0] * 8
    for line in _read("/proc/stat").splitlines():
        name, *fields = line.split()
        if name in names:
            sums = [total + int(field) for total, field in zip(sums, fields[:8])]
    return sums


def stolen_seconds(cores: Collection[int]) -> float:
    """CPU time of these cores that a hypervisor gave to others, in steps of 10 ms."""
    return core_ticks(cores)[7] / TICKS_PER_SECOND


def pss_bytes(pid: int) -> int:
    """User-space memory: the proportional set size of the process tree."""
    kilobytes = 0
    for member in process_tree(pid):
        for line in _read(f"/proc/{member}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                kilobytes += int(line.split()[1])
    return kilobytes * 1024


def descriptors(pid: int) -> int:
    """How many descriptors the process tree has open."""
    return sum(len(_listdir(f"/proc/{member}/fd")) for member in process_tree(pid))


def kernel_socket_bytes() -> tuple[int, int]:
    """Of the whole machine: bytes in TCP buffers, and in slabs (where sockets live)."""
    buffers = slab = 0
    for line in _read("/proc/net/sockstat").splitlines():
        words = line.split()
        if words[:1] == ["TCP:"]:
            buffers = int(words[words.index("mem") + 1]) * PAGE_BYTES
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("Slab:"):
            slab = int(line.split()[1]) * 1024
    return buffers, slab


def listeners(port: int) -> int:
    """How many sockets of this network listen on the port. Does not connect to them."""
    suffix = f":{port:04X}"
    count = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _read(table).splitlines()[1:]:
            fields = line.split()
            count += fields[3] == TCP_LISTEN and fields[1].endswith(suffix)
    return count


def is_listening(port: int) -> bool:
    """Whether any address of this machine listens on the port."""
    return listeners(port) > 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
