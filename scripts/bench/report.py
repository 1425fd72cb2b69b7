"""What the figures look like in the terminal, and in words anywhere."""

from __future__ import annotations

from bench.marks import MISSING, Verdict
from bench.results import SUBJECT, Result
from bench.statistics import Interval, median_interval, paired_ratios


def cells(result: Result) -> list[list[str]]:
    """A table: a heading, then a line for each contender, medians of all figures. The first figure
    also has its spread."""
    figures = [
        figure
        for figure in result.figures
        if any(figure.key in of_one for of_one in result.series.values())
    ]
    heading = [""]
    for index, figure in enumerate(figures):
        heading.append(f"{figure.title}, {figure.unit}" if figure.unit else figure.title)
        if index == 0:
            heading.append("spread")
    rows = [heading]
    for contender, of_one in result.series.items():
        row = [contender]
        for index, figure in enumerate(figures):
            values = of_one.get(figure.key)
            row.append(
                f"{result.median(contender, figure.key):,.{figure.digits}f}" if values else "–"
            )
            if index == 0:
                row.append(
                    f"{min(values):,.{figure.digits}f}–{max(values):,.{figure.digits}f}"
                    if values
                    else "–"
                )
        rows.append(row)
    return rows


def remarks(result: Result) -> list[str]:
    """What has to be said of the settings, and what the floor is."""
    chosen = [f"{name}: {label}" for name, label in result.settings.items()]
    return [*chosen, *result.notes]


def findings(result: Result, subject: str = SUBJECT) -> list[str]:
    """The marks and what came of them; without a mark, how the first figure compares."""
    if result.marks:
        return [verdict_words(result, verdict) for verdict in result.verdicts(subject)]
    figure = result.figures[0]
    own = result.series.get(subject, {}).get(figure.key)
    medians = {peer: median for peer in result.peers if (median := result.median(peer, figure.key))}
    if not own or not medians:
        return []
    best = (min if figure.lower_is_better else max)(medians, key=lambda peer: medians[peer])
    interval = median_interval(paired_ratios(own, result.series[best][figure.key]))
    return [
        f"{figure.title} is {interval.median:.2f} of the best peer's ({best}), "
        f"{interval_words(interval)}; no mark"
    ]


def verdict_words(result: Result, verdict: Verdict) -> str:
    """One mark and what came of it."""
    figure = next((one for one in result.figures if one.key == verdict.mark.figure), None)
    title = figure.title if figure else verdict.mark.figure
    demand = verdict.mark.words(title)
    if verdict.outcome == MISSING or verdict.interval is None:
        return f"{demand}: {MISSING.upper()}, because nobody is there to compare with"
    interval = verdict.interval
    found = f"{interval.median:.2f}"
    if verdict.against != verdict.mark.against:
        found += f" ({verdict.against})"
    return f"{demand}: {found}, {interval_words(interval)}: {verdict.outcome.upper()}"


def interval_words(interval: Interval) -> str:
    """What encloses the median, and how surely: few rounds reach less than others."""
    return f"{interval.low:.2f}–{interval.high:.2f} ({100 * interval.coverage:.0f} %)"


def text(result: Result, subject: str = SUBJECT) -> str:
    """A case's part of the report."""
    rows = cells(result)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"\n{result.name}: {result.about}"]
    for row in rows:
        first, *others = row
        padded = [cell.rjust(width) for cell, width in zip(others, widths[1:])]
        lines.append("  " + "  ".join([first.ljust(widths[0]), *padded]))
    lines += [f"  {remark}" for remark in remarks(result)]
    lines += [f"  > {finding}" for finding in findings(result, subject)]
    return "\n".join(lines)
