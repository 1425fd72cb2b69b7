"""A program that measures something by itself, without a proxy or a load."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.laboratory import PACKAGE, Laboratory, LoadFailed
from bench.marks import Mark
from bench.results import Figure, Result


@dataclass(frozen=True)
class Program:
    """A program that prints one JSON object: `{"CONTENDER": {"FIGURE": NUMBER, ...}, ...}`.

    It is run once a round, on the proxy's core. What it calls contenders are the lines of the
    table, and each figure is one of `figures`, by its key.
    """

    name: str
    about: str
    program: str
    figures: tuple[Figure, ...]
    arguments: tuple[str, ...] = ()
    quick_arguments: tuple[str, ...] | None = None
    marks: tuple[Mark, ...] = ()
    is_quick: bool = False
    seconds_max: float = 120.0
    rounds_max: int = 9
    # The package that builds it.
    package: Path = PACKAGE

    def run(self, lab: Laboratory, kinds: Sequence[str], rounds: int) -> Result:
        """So many runs of the program. Proxies have no part in it."""
        result = Result(self.name, self.about, self.figures, self.marks)
        arguments = self.arguments
        if lab.is_quick and self.quick_arguments is not None:
            arguments = self.quick_arguments
        command = ["taskset", "--cpu-list", str(lab.cores.proxy)]
        command += [str(self.package / ".build/release" / self.program), *arguments]
        rounds = min(rounds, self.rounds_max)
        for index in range(rounds):
            lab.progress(f"{self.name}: round {index + 1} of {rounds}")
            answer = subprocess.run(
                command, capture_output=True, text=True, timeout=self.seconds_max, check=False
            )
            if answer.returncode != 0:
                raise LoadFailed(f"{self.program}: {answer.stderr.strip()}")
            for contender, figures in json.loads(answer.stdout).items():
                result.add(contender, figures)
        return result
