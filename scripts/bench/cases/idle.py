"""What sessions cost that are there and do nothing: memory of the process, and of the kernel."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.cases.case import contenders, in_front_of, peers_of
from bench.laboratory import Laboratory, Target
from bench.marks import ITSELF, Mark
from bench.peers import Contender
from bench.results import FLOOR, Figure, Result
from bench.rounds import alternating
from lab import procfs

SESSIONS = 9_000
# Fewer than elsewhere: nothing of this depends on time.
ROUNDS = 3
WARM_UP_SESSIONS = 64
MEMORY = Figure("memory", "user space per session", "B", 0)
KERNEL = Figure("kernel", "kernel, slab and buffers per session", "B", 0)
TOTAL = Figure("total", "both", "B", 0)


@dataclass(frozen=True)
class IdleMemory:
    """9,000 sessions that have passed a message and its echo and now idle.

    User space is what the process's proportional set size grew by; the kernel's part is what its
    slabs and TCP buffers grew by in the whole machine, four sockets a session with the client's and
    the endpoint's. The floor has two of these four. Every measurement has a proxy of its own.
    """

    name: str = "idle memory of 9,000 sessions"
    is_quick: bool = False

    def run(self, lab: Laboratory, kinds: Sequence[str], rounds: int) -> Result:
        """The memory of each, however many rounds others have."""
        found = contenders(kinds)
        marks = (Mark("memory", 256, against=ITSELF, exact=True),)
        about = f"memory that {SESSIONS:,} idle sessions add, for each of them"
        result = Result(self.name, about, (MEMORY, KERNEL, TOTAL), marks, peers_of(found))
        result.notes.append(
            f"{FLOOR}: sessions without a proxy, client and server: two of the four sockets"
        )
        by_name = {one.name: one for one in found}
        for index, name in alternating([*by_name, FLOOR], ROUNDS):
            lab.progress(f"{self.name}: round {index + 1}, {name}")
            with lab.server("echo", lab.cores.servers) as (pid, echoes), in_front_of(name):
                if name == FLOOR:
                    result.add(name, grown(lab, Target(pid, echoes)))
                    continue
                with started(lab, by_name[name], echoes) as target:
                    result.add(name, grown(lab, target))
        return result


@contextlib.contextmanager
def started(lab: Laboratory, contender: Contender, echoes: list[str]) -> Iterator[Target]:
    """The contender in front of these servers."""
    route = lab.route(echoes)
    with lab.proxy(contender, [route]) as proxy:
        yield Target(proxy.pid, route.listen, proxy)


def grown(lab: Laboratory, target: Target) -> dict[str, float]:
    """What the sessions add, for each of them."""
    with lab.held(target.addresses, WARM_UP_SESSIONS):
        pass
    time.sleep(0.3)
    memory, kernel = procfs.pss_bytes(target.pid), sum(procfs.kernel_socket_bytes())
    with lab.held(target.addresses, SESSIONS):
        time.sleep(0.5)
        memory = procfs.pss_bytes(target.pid) - memory
        kernel = sum(procfs.kernel_socket_bytes()) - kernel
    # What was closed is given back behind our backs; the next measurement must not see it.
    time.sleep(0.5)
    each, each_in_kernel = memory / SESSIONS, kernel / SESSIONS
    return {"memory": each, "kernel": each_in_kernel, "total": each + each_in_kernel}


CASES = (IdleMemory(),)
