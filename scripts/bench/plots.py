"""Plots as SVG, written by hand: no library is needed to draw a bar, and the files are small texts
that a browser shows and a diff can read. Colours work on a light and a dark page, and never carry
a meaning alone: every bar has its name and its figure beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from bench.report import interval_words
from bench.results import FLOOR, SUBJECT, Figure, Result
from bench.statistics import median_interval, paired_ratios

FOLDER = Path("docs/performance")
COLOURS = {
    SUBJECT: "#d9480f",
    "haproxy": "#1971c2",
    "nginx": "#2f9e44",
    "envoy": "#9c36b5",
    FLOOR: "#868e96",
}
OTHER = "#868e96"
INK = "#868e96"  # readable on white and on black
WIDTH, LABEL, BAR, GAP = 760, 190, 14, 6
FONT = "font-family='system-ui, sans-serif' font-size='12'"


def write(whole: Mapping[str, object], root: Path) -> list[Path]:
    """All plots; returns where they are."""
    results = [Result.of_json(case) for case in whole["cases"]]
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {
        "ratios.svg": ratios(results),
        "cost.svg": bars(results, "cost"),
        "latency.svg": latencies(results),
        "memory.svg": bars(results, "memory"),
        "start.svg": bars(results, "accept_ms"),
    }
    paths = []
    for name, drawing in drawings.items():
        if drawing:
            (folder / name).write_text(drawing, encoding="utf-8")
            paths.append(folder / name)
    return paths


def ratios(results: Sequence[Result]) -> str:
    """For each case the first figure of every proxy in relation to Sluice's, with its interval, on
    a scale where half and double are equally far from one."""

    rows = []
    for result in results:
        figure = result.figures[0]
        own = result.series.get(SUBJECT, {}).get(figure.key)
        if not own or not figure.lower_is_better:
            continue
        found = []
        for peer in result.peers:
            values = result.series.get(peer, {}).get(figure.key)
            if values and len(values) == len(own) and all(own):
                found.append((peer, median_interval(paired_ratios(values, own))))
        if found:
            rows.append((f"{result.name}: {figure.title}", found))
    if not rows:
        return ""
    highest = max(interval.high for _, found in rows for _, interval in found)
    lowest = min(1.0, *(interval.low for _, found in rows for _, interval in found))
    low, high = math.floor(math.log2(lowest)), math.ceil(math.log2(highest))
    left, right = LABEL + 170, WIDTH - 20

    def place(ratio: float) -> float:
        return left + (math.log2(max(ratio, 2.0**low)) - low) / (high - low) * (right - left)

    step = 11
    height = 50 + sum(step * len(found) + 12 for _, found in rows)
    parts = [
        _text(10, 18, "What the others cost where Sluice costs 1 (median and interval)", bold=True)
    ]
    for power in range(low, high + 1):
        x = place(2.0**power)
        emphasis = "1.5" if power == 0 else "0.5"
        parts.append(_line(x, 40, x, height - 4, INK, emphasis))
        parts.append(_text(x, 35, f"{2.0**power:g}", anchor="middle"))
    y = 50.0
    for name, found in rows:
        parts.append(_text(10, y + 8, name, size=11))
        for peer, interval in found:
            colour = COLOURS.get(peer, OTHER)
            middle = y + 4
            parts.append(
                _line(place(interval.low), middle, place(interval.high), middle, colour, "2")
            )
            title = f"{peer}: {interval.median:.2f}, {interval_words(interval)}"
            parts.append(
                f"<circle cx='{place(interval.median):.1f}' cy='{middle:.1f}' r='4' "
                f"fill='{colour}'><title>{escape(title)}</title></circle>"
            )
            parts.append(_text(left - 8, middle + 4, peer, anchor="end", size=9, colour=colour))
            y += step
        y += 12
    return _svg(height, parts)


def bars(results: Sequence[Result], key: str) -> str:
    """A panel for each case that has the figure: a bar for each contender, the part in user mode
    darker where it is known, and a whisker from the least to the most of all rounds."""
    parts: list[str] = []
    y = 6.0
    for result in results:
        figure = _figure(result, key)
        if figure is None:
            continue
        medians = {
            name: result.median(name, key)
            for name, figures in result.series.items()
            if figures.get(key)
        }
        if not medians:
            continue
        parts.append(_text(10, y + 14, f"{result.name}: {figure.title}, {figure.unit}", bold=True))
        y += 22
        most = max(max(result.series[name][key]) for name in medians) or 1.0
        scale = (WIDTH - LABEL - 110) / most
        for name, value in medians.items():
            values = result.series[name][key]
            colour = COLOURS.get(name.partition(",")[0], OTHER)
            parts.append(_text(LABEL - 8, y + BAR - 3, name, anchor="end"))
            parts.append(_bar(LABEL, y, value * scale, colour, "0.55"))
            user = result.median(name, "user") if key == "cost" else None
            if user:
                parts.append(_bar(LABEL, y, user * scale, colour, "1"))
            middle = y + BAR / 2
            parts.append(
                _line(
                    LABEL + min(values) * scale,
                    middle,
                    LABEL + max(values) * scale,
                    middle,
                    INK,
                    "1",
                )
            )
            end = LABEL + max(values) * scale + 6
            parts.append(_text(end, y + BAR - 3, f"{value:,.{figure.digits}f}"))
            y += BAR + GAP
        y += 12
    return _svg(y, parts) if parts else ""


def latencies(results: Sequence[Result]) -> str:
    """For each case with latencies a line from p50 by p99 to p99.9 for every contender."""

    keys = ("p50_us", "p99_us", "p999_us")
    shapes = ("r='4'", "r='3'", "r='2'")
    panels = []
    for result in results:
        lines = {}
        for name, figures in result.series.items():
            found = [result.median(name, key) for key in keys if figures.get(key)]
            if len(found) > 1 and all(found):
                lines[name] = found
        if lines:
            panels.append((result.name, lines))
    if not panels:
        return ""
    values = [value for _, lines in panels for found in lines.values() for value in found]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    left, right = LABEL, WIDTH - 30

    def place(value: float) -> float:
        return left + (math.log10(value) - low) / (high - low) * (right - left)

    parts = [_text(10, 18, "Latency in us: p50 (large), p99, p99.9 (small)", bold=True)]
    y = 40.0
    for title, lines in panels:
        parts.append(_text(10, y + 10, title, bold=True))
        y += 18
        top = y
        for name, found in lines.items():
            colour = COLOURS.get(name.partition(",")[0], OTHER)
            middle = y + 7
            parts.append(_text(left - 8, middle + 4, name, anchor="end"))
            parts.append(_line(place(found[0]), middle, place(found[-1]), middle, colour, "1.5"))
            for value, shape in zip(found, shapes):
                parts.append(
                    f"<circle cx='{place(value):.1f}' cy='{middle:.1f}' {shape} fill='{colour}'>"
                    f"<title>{value:,.0f} us</title></circle>"
                )
            y += 15
        for power in range(low, high + 1):
            x = place(10.0**power)
            parts.append(_line(x, top, x, y, INK, "0.5"))
            parts.append(_text(x, y + 10, f"{10**power:,}", anchor="middle", size=9))
        y += 24
    return _svg(y, parts)


def _figure(result: Result, key: str) -> Figure | None:
    return next((figure for figure in result.figures if figure.key == key), None)


def _svg(height: float, parts: Sequence[str]) -> str:
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}' "
        f"width='{WIDTH}' height='{height:.0f}' {FONT}>"
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    size: int = 12,
    bold: bool = False,
    colour: str = INK,
) -> str:
    weight = " font-weight='bold'" if bold else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}'{weight} "
        f"fill='{colour}'>{escape(words)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: str) -> str:
    return (
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' "
        f"stroke='{colour}' stroke-width='{width}'/>"
    )


def _bar(x: float, y: float, width: float, colour: str, opacity: str) -> str:
    return (
        f"<rect x='{x:.1f}' y='{y:.1f}' width='{max(width, 0.5):.1f}' height='{BAR}' "
        f"fill='{colour}' fill-opacity='{opacity}'/>"
    )
