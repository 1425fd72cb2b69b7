"""Sluice with a configuration in its own words, and what its logs say.

For what the other proxies have no words for: health checks, names that are looked up again,
reloads. Both logs go to one file unless a check has other plans for the access log, so that their
lines are found in the order in which they were written.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO

from lab.proxies import Proxy, ProxyFailed, Settings, Stream, free_port, wait_until

_PAIR = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')
_SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class Line:
    """One line of a log: when, `access` or a level, what, and its pairs."""

    text: str
    time: float
    kind: str
    message: str
    pairs: Mapping[str, str]

    @staticmethod
    def of(text: str) -> Line | None:
        """The line, or None for what is none, such as a line that is not whole yet."""
        words = text.split(" ", 2)
        if len(words) < 3 or words[1] not in (*LEVELS, "access"):
            return None
        try:
            moment = datetime.fromisoformat(words[0].replace("Z", "+00:00")).timestamp()
        except ValueError:
            return None
        message = words[2]
        pairs = {}
        for match in _PAIR.finditer(message):
            key, value = match.groups()
            pairs[key] = json.loads(value) if value.startswith('"') else value
        if first := _PAIR.search(message):
            message = message[: first.start()].rstrip()
        return Line(text, moment, words[1], message, pairs)


@dataclass
class Log:
    """A log file that grows: what is new in it since the last look."""

    path: Path
    lines: list[Line] = field(default_factory=list)
    _offset: int = 0

    def read(self) -> list[Line]:
        """All lines so far."""
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for text in whole.decode("utf-8", errors="replace").splitlines():
            if line := Line.of(text):
                self.lines.append(line)
        return self.lines

    def mark(self) -> int:
        """A place: lines from here on are later than this call."""
        return len(self.read())

    def since(self, mark: int, kind: str, message: str = "") -> list[Line]:
        """Lines of that kind since the mark whose message begins like that."""
        return [
            line
            for line in self.read()[mark:]
            if line.kind == kind and line.message.startswith(message)
        ]

    def wait_for(
        self,
        mark: int,
        kind: str,
        message: str,
        seconds: float = 10,
        where: Callable[[Line], bool] = lambda _: True,
    ) -> Line:
        """The first such line since the mark; TimeoutError when none comes in time."""
        found: list[Line] = []

        def is_there() -> bool:
            found[:] = [line for line in self.since(mark, kind, message) if where(line)]
            return bool(found)

        wait_until(is_there, seconds, f"the line '{kind} {message}'")
        return found[0]


class Sluice(Proxy):
    """A running Sluice with the given file, to which an admin interface is added. Use it as a
    context, as any proxy.

    `prefix` is a command that ends in executing the rest of its arguments in its own process;
    `stdout` and `stderr` are descriptors that take a log in place of the file, and `log_path` is
    where the operational log can be read then.
    """

    def __init__(
        self,
        text: str,
        *,
        core: int | None = None,
        prefix: tuple[str, ...] = (),
        stdout: int | None = None,
        stderr: int | None = None,
        log_path: Path | None = None,
    ) -> None:
        super().__init__("sluice", Settings([]), core=core)
        self.text = text
        self.prefix = prefix
        self.streams = (stdout, stderr)
        self.log_path = log_path
        self.admin_port = free_port()

    @property
    def file(self) -> Path:
        """The configuration file."""
        return self.folder / "configuration"

    def rewrite(self, text: str) -> None:
        """Puts another file in the place of the configuration. Nothing is read yet."""
        self.text = text
        new = self.file.with_suffix(".new")
        admin = f'admin: {{listen: "127.0.0.1:{self.admin_port}"}}'
        new.write_text(f"{admin}\n{text}", encoding="utf-8")
        new.replace(self.file)

    def reload(self, text: str, seconds: float = 10) -> list[Line]:
        """SIGHUP with another file; returns the lines that tell what came of it: one that says
        `reloaded`, or the reasons why not."""
        self.rewrite(text)
        mark = self.log.mark()
        self.process.send_signal(signal.SIGHUP)

        def told() -> list[Line]:
            return self.log.since(mark, "info", "reloaded") + self.log.since(
                mark, "error", "the configuration was not reloaded"
            )

        wait_until(lambda: bool(told()) or not self.is_alive, seconds, "the reload")
        if not self.is_alive:
            raise ProxyFailed(f"ended while it reloaded\n{self.output()}")
        if told()[0].message != "reloaded":
            time.sleep(0.05)  # reasons are written one after the other
        return told()

    def metrics(self) -> Callable[..., float]:
        """What the admin interface tells now: `read(name, label=value, ...)` is the sum of all
        samples of that name which have these labels; LookupError when there are none."""
        url = f"http://127.0.0.1:{self.admin_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode("utf-8")
        samples = []
        for line in text.splitlines():
            if match := _SAMPLE.match(line):
                labels = dict(_LABEL.findall(match[2] or ""))
                samples.append((match[1], labels, float(match[3])))

        def read(name: str, /, **wanted: str) -> float:
            found = [
                value
                for sample, labels, value in samples
                if sample == name and wanted.items() <= labels.items()
            ]
            if not found:
                raise LookupError(f"no metric {name} {wanted}")
            return sum(found)

        return read

    def command(self) -> list[str]:
        """The command line, with its configuration file written."""
        command = super().command()
        self.rewrite(self.text)
        return [*self.prefix, *command]

    def _streams(self, stdout: IO[bytes], stderr: IO[bytes]) -> tuple[Stream, Stream]:
        own_stdout, own_stderr = self.streams
        return (
            stdout if own_stdout is None else own_stdout,
            stderr if own_stderr is None else own_stderr,
        )

    def _start(self) -> None:
        super()._start()
        self.log = Log(self.log_path or self.folder / "output")

        def is_ready() -> bool:
            return not self.is_alive or bool(self.log.since(0, "info", "ready"))

        try:
            wait_until(is_ready, 15, "the line 'ready'")
        except TimeoutError as error:
            self.process.kill()
            self.process.wait()
            raise ProxyFailed(f"{error}\n{self.output()}") from None
        if not self.is_alive:
            raise ProxyFailed(f"did not start\n{self.output()}")


def private_mounts() -> tuple[str, ...]:
    """A prefix for a command in mounts of its own; OSError where that is not allowed."""
    prefix = ("unshare", "--mount", "--propagation", "private")
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise OSError(f"no mounts of its own ({tried.stderr.strip()}): run this as root")
    return prefix
