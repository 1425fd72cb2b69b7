"""The stripped binary is under 20 MB, without full Foundation, and accepts within 50 ms."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from harness import Report, median, single_route
from lab.proxies import ProxyFailed, binary_of
from traffic import echo, endpoint

STARTS = 20
MILLISECONDS_MAX = 50.0
BINARY_BYTES_MAX = 20_000_000
# What only full Foundation brings: its shared libraries, or, linked statically, CoreFoundation.
FOUNDATION = (
    rb"libFoundation\.so|libFoundationInternationalization\.so|lib_FoundationICU\.so"
    rb"|_CFRuntimeCreateInstance"
)


def start_milliseconds(kind: str, endpoints: list[tuple[str, int]]) -> float:
    """From spawning the process to the first connection that is accepted."""
    proxy, [address] = single_route(kind, endpoints)
    proxy.wait = False
    start = time.perf_counter()
    with proxy:
        while True:
            with socket.socket() as client:
                if client.connect_ex(address) == 0:
                    return (time.perf_counter() - start) * 1e3
            if not proxy.is_alive or time.perf_counter() - start > 10:
                raise ProxyFailed(f"does not accept\n{proxy.output()}")
            time.sleep(0.0002)


def stripped_bytes(binary: Path) -> int:
    """The size of a stripped copy."""
    strip = shutil.which("strip") or shutil.which("llvm-strip")
    if strip is None:
        raise FileNotFoundError("strip is not there: scripts/install.sh acceptance")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "stripped"
        subprocess.run([strip, "--strip-all", "-o", str(copy), str(binary)], check=True)
        return copy.stat().st_size


def run(report: Report, kind: str) -> None:
    """The file itself, then how fast it starts."""
    binary = binary_of(kind)
    if binary is None:
        raise ProxyFailed(f"{kind} is not there: build or install it first")
    size = stripped_bytes(binary)
    report.check("stripped binary", size < BINARY_BYTES_MAX, f"{size / 1e6:.1f} MB")
    found = sorted({match.decode() for match in re.findall(FOUNDATION, binary.read_bytes())})
    report.check("no full Foundation", not found, ", ".join(found) or "none found")
    with endpoint(echo) as endpoints:
        times = [start_milliseconds(kind, endpoints) for _ in range(STARTS)]
    report.check(
        f"accepts after its start, median of {STARTS}",
        median(times) < MILLISECONDS_MAX,
        f"{median(times):.1f} ms, at most {max(times):.1f} ms",
    )
