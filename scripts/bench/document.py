"""The generated part of docs/performance.md: tables of the last run, between two markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import calls, plots, report
from bench.marks import MISSING
from bench.results import Result

DOCUMENT = Path("docs/performance.md")
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"


def write(whole: Mapping[str, object], root: Path) -> Path:
    """Puts the tables into the document, and returns where it is."""
    path = root / DOCUMENT
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise ValueError(f"{path} has lost its markers {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n\n{generated(whole, root)}\n{END}{after}", encoding="utf-8")
    return path


def generated(whole: Mapping[str, object], root: Path) -> str:
    """Everything between the markers."""
    results = [Result.of_json(case) for case in whole["cases"]]
    parts = [_circumstances(whole), "### Marks", _marks(results)]
    folder = root / plots.FOLDER
    for name, words in (("ratios", "What the others cost where Sluice costs 1"),):
        if (folder / f"{name}.svg").exists():
            parts.append(f"![{words}]({plots.FOLDER.name}/{name}.svg)")
    parts.append(
        "CPU of each case, user and system: [cost.svg](performance/cost.svg); latencies: "
        "[latency.svg](performance/latency.svg)."
    )
    for result in results:
        parts += [
            f"### {_capital(result.name)}",
            f"{_capital(result.about)}.",
            _table(report.cells(result)),
        ]
        if notes := [*report.remarks(result), *report.findings(result)]:
            parts.append("\n".join(f"- {note}" for note in notes))
    if counted := whole.get("calls"):
        parts.append("### System calls")
        heading = ["", "proxy", "calls", "of these"]
        parts.append(_table([heading, *calls.lines(counted)]))
    return "\n\n".join(parts) + "\n"


def _circumstances(whole: Mapping[str, object]) -> str:
    machine = whole["machine"]
    dates = sorted(case["date"] for case in whole["cases"])
    rows = [["", ""]]
    rows.append(["date", dates[0] if dates[0] == dates[-1] else f"{dates[0]} – {dates[-1]}"])
    rows.append(["commit", str(whole["commit"])])
    rows += [[key, str(value)] for key, value in machine.items()]
    rows += [["network", str(whole["network"])], ["users", str(whole["user"])]]
    rows.append(["others on these cores before it", f"at most {whole['others']:.1%} of their time"])
    rows += [[kind, version] for kind, version in whole["versions"].items()]
    words = "### Where and when\n\n" + _table(rows)
    if whole.get("quick"):
        words += "\n\n**A quick run: few, short rounds. Not for comparisons.**"
    return words


def _marks(results: Sequence[Result]) -> str:
    rows = [["case", "mark", "found", "interval", ""]]
    for result in results:
        titles = {figure.key: figure.title for figure in result.figures}
        for verdict in result.verdicts():
            mark = verdict.mark
            found = interval = "–"
            if verdict.interval is not None:
                found = f"{verdict.interval.median:.2f}"
                if verdict.against != mark.against:
                    found += f" ({verdict.against})"
                interval = report.interval_words(verdict.interval)
            outcome = verdict.outcome if verdict.outcome != MISSING else "nobody to compare with"
            demand = mark.words(titles.get(mark.figure, mark.figure))
            rows.append([result.name, demand, found, interval, outcome])
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    heading, *others = rows
    return "\n".join([line(heading), "|" + "---|" * len(heading), *map(line, others)])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
