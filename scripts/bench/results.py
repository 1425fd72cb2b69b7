"""What a case has measured: figures by contender and round, and how people call them."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.marks import Mark, Verdict, judged

FLOOR = "floor"
SUBJECT = "sluice"


@dataclass(frozen=True)
class Figure:
    """A kind of figure: its name in files, its title in tables, its unit and digits."""

    key: str
    title: str
    unit: str
    digits: int = 2
    lower_is_better: bool = True

    def text(self, value: float) -> str:
        """The value as people read it."""
        return f"{value:,.{self.digits}f} {self.unit}".rstrip()


PER_OPERATION = Figure("cost", "CPU", "us/op")
PER_SESSION = Figure("cost", "CPU", "us/session")
PER_GIGABYTE = Figure("cost", "CPU", "s/GB", 3)
USER, SYSTEM = Figure("user", "user", "", 3), Figure("system", "system", "", 3)
RATE = Figure("rate", "rate", "/s", 0, lower_is_better=False)
SPEED = Figure("rate", "rate", "GB/s", 2, lower_is_better=False)
BUSY = Figure("busy", "core busy", "%", 0)
P50 = Figure("p50_us", "p50", "us", 0)
P99 = Figure("p99_us", "p99", "us", 0)
P999 = Figure("p999_us", "p99.9", "us", 0)


@dataclass
class Result:
    """One case's figures. `series[contender][figure]` has a value for each round, so that values of
    the same index were measured one after the other."""

    name: str
    about: str
    figures: tuple[Figure, ...]
    marks: tuple[Mark, ...] = ()
    peers: list[str] = field(default_factory=list)
    series: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, contender: str, sample: Mapping[str, float]) -> None:
        """The figures of one round."""
        figures = self.series.setdefault(contender, {})
        for key, value in sample.items():
            figures.setdefault(key, []).append(value)

    def median(self, contender: str, key: str) -> float | None:
        """The median of a figure, or None where it was not measured."""
        values = self.series.get(contender, {}).get(key)
        return statistics.median(values) if values else None

    def verdicts(self, subject: str = SUBJECT) -> list[Verdict]:
        """All marks of the case, judged."""
        better = {figure.key: figure.lower_is_better for figure in self.figures}
        return [
            judged(mark, self.series, subject, self.peers, better.get(mark.figure, True))
            for mark in self.marks
        ]

    def as_json(self, subject: str = SUBJECT) -> dict[str, object]:
        """For the file; `of_json` reads it again."""
        return {
            "name": self.name,
            "about": self.about,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "figures": [vars(figure) for figure in self.figures],
            "marks": [vars(mark) for mark in self.marks],
            "peers": self.peers,
            "settings": self.settings,
            "notes": self.notes,
            "series": self.series,
            "verdicts": [verdict.as_json() for verdict in self.verdicts(subject)],
        }

    @staticmethod
    def of_json(document: Mapping[str, object]) -> Result:
        """What `as_json` wrote; its verdicts are made anew."""
        return Result(
            name=document["name"],
            about=document["about"],
            figures=tuple(Figure(**figure) for figure in document["figures"]),
            marks=tuple(Mark(**mark) for mark in document["marks"]),
            peers=list(document["peers"]),
            series=dict(document["series"]),
            settings=dict(document["settings"]),
            notes=list(document["notes"]),
        )
