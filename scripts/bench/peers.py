"""Who is measured, and how each is set up so that it does its best at the job.

Every proxy has one worker, its access log in a file, a connect timeout of 5 s, an idle timeout of
an hour, and connects to each endpoint every 2 s to see whether it is there (nginx has no such
checks). All of them run as users without privileges, each as one of its own, so that none uses up
what the kernel grants a user (memory of pipes) for another. Where the documentation of a peer
leaves a choice that depends on the load, all choices are tried before a case, and the one that
does best by the case's figure, mostly CPU, is measured. docs/performance.md has these settings in a
table.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lab import proxies


@dataclass(frozen=True)
class Contender:
    """A proxy with the settings that it has in a case. A plain one lacks what the case is about,
    such as the idle sessions, and shows what that costs; a tuned one has settings that its
    documentation does not advise in general. Nothing is judged by either."""

    name: str
    kind: str
    is_plain: bool = False
    is_tuned: bool = False
    changes: Mapping[str, object] = field(default_factory=dict)
    label: str = ""

    def with_changes(self, label: str, **changes: object) -> Contender:
        """The same one with other settings, and what to call them."""
        merged = {**self.changes, **changes}
        return dataclasses.replace(self, changes=merged, label=label)


def variants(contender: Contender, is_bulk: bool) -> list[Contender]:
    """The settings among which a short trial chooses: what suits small messages first, what suits
    bulk last."""
    change = contender.with_changes
    if contender.is_tuned:
        return [contender]
    if contender.kind == "haproxy":
        return [change(f"splice {choice}", splice=choice) for choice in ("off", "auto", "forced")]
    if contender.kind == "nginx" and is_bulk:
        sizes = {"16 KiB": 16_384, "64 KiB": 65_536, "256 KiB": 262_144}
        return [change(f"buffer {text}", buffer=size) for text, size in sizes.items()]
    if contender.kind == "envoy" and is_bulk:
        return [change("buffer 32 KiB", buffer=32_768), change("buffer 1 MiB", buffer=1_048_576)]
    return [contender]


def usual(contender: Contender, is_bulk: bool) -> Contender:
    """The one of these that usually does best, for where nothing is tried."""
    return variants(contender, is_bulk)[-1 if is_bulk else 0]


def tuned(kinds: Sequence[str], is_bulk: bool) -> list[Contender]:
    """What is shown beside the others. HAProxy's `tune.pipesize` helps bulk a great deal; its
    documentation names it, and warns of the kernel memory that it takes."""
    if not is_bulk or "haproxy" not in kinds:
        return []
    changes = {"splice": "forced", "pipe": 524_288}
    return [Contender("haproxy, large pipes", "haproxy", is_tuned=True, changes=changes)]


def version_of(kind: str) -> str:
    """The first line of what a proxy says of its version."""
    arguments = {"haproxy": ["-v"], "nginx": ["-v"], "envoy": ["--version"]}
    command = [str(proxies.binary_of(kind)), *arguments.get(kind, ["version"])]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (answer.stdout + answer.stderr).strip().splitlines()
    if kind == "envoy" and lines:
        # BINARY  version: COMMIT/VERSION/Clean/RELEASE/SSL
        parts = lines[-1].rpartition(" ")[2].split("/")
        return f"envoy {parts[1]}" if len(parts) > 1 else lines[-1]
    return lines[0].partition(" - https")[0] if lines else "unknown"
