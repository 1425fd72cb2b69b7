"""Tables of the matrix of ends, in Markdown: cells that saw the same are folded into one row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ends_matrix import ENDS, FINISH, MANNERS, STREAM_BYTES, Result
from ends_sockets import FAMILIES, ORDERLY
from lab.proxies import ROOT

DOCUMENT = ROOT / "docs" / "ends.md"


def joined(texts: Iterable[str]) -> str:
    """Different texts, each once."""
    return " / ".join(dict.fromkeys(texts)) or "–"


def list_of(words: Sequence[str]) -> str:
    """`a; b; c`."""
    return "; ".join(words)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def folded(
    results: Sequence[Result], columns: Callable[[list[Result]], Sequence[str]]
) -> list[list[str]]:
    """A row for each end and each set of manners for which the columns are equal."""
    rows: list[list[str]] = []
    for end in ENDS:
        by_columns: dict[tuple[str, ...], list[str]] = {}
        for manner in MANNERS:
            some = [r for r in results if r.cell.end == end and r.cell.manner == manner]
            if some:
                by_columns.setdefault(tuple(columns(some)), []).append(manner)
        for number, (found, manners) in enumerate(by_columns.items()):
            what = "in every manner" if len(manners) == len(MANNERS) else list_of(manners)
            rows.append([end if number == 0 else "", what, *found])
    return rows


def own_table(results: Sequence[Result]) -> str:
    """What Sluice does: for readers on TCP and on unix sockets, and for the other direction."""

    def columns(some: list[Result]) -> Sequence[str]:
        by_family = [
            joined(r.outcome for r in some if r.cell.reader_family == family) for family in FAMILIES
        ]
        return [*by_family, joined(r.other_outcome for r in some)]

    heads = (
        "one side",
        "the other side",
        "which receives, on TCP",
        "which receives, on a unix socket",
        "what it sends itself",
    )
    return table(heads, folded(results, columns))


def amounts(some: Sequence[Result]) -> str:
    """Bytes and ends of several cells, in short."""
    if not some:
        return "–"
    least, most = min(r.received for r in some), max(r.received for r in some)
    if least == STREAM_BYTES:
        text = "all"
    elif least == most:
        text = f"{least:,} B"
    else:
        text = f"{least:,} to {'all' if most == STREAM_BYTES else f'{most:,}'} B"
    ends = joined(sorted({r.ending for r in some}))
    text += f", {ends}"
    if any(
        r.cell.end == FINISH and (r.answer != r.answered or r.answer_ending != ORDERLY)
        for r in some
    ):
        text += ", answer lost"
    return text


def compared_rows(results: Mapping[str, Sequence[Result]]) -> list[list[str]]:
    """A row for each end, manner, and kinds of sockets in which the proxies differ."""
    rows = []
    everything = [result for some in results.values() for result in some]
    keys = dict.fromkeys(
        (r.cell.end, r.cell.manner, r.cell.source_family, r.cell.reader_family, r.cell.side)
        for r in everything
    )
    for end, manner, source, reader, side in keys:

        def matches(r: Result, key: tuple[str, ...] = (end, manner, source, reader, side)) -> bool:
            cell = r.cell
            own = (cell.end, cell.manner, cell.source_family, cell.reader_family, cell.side)
            return own == key

        found = [amounts([r for r in some if matches(r)]) for some in results.values()]
        if len(set(found)) > 1:
            rows.append([f"{source} {side} {end}", f"{reader} reader {manner}", *found])
    return rows


def compared_table(results: Mapping[str, Sequence[Result]]) -> str:
    """What the proxies do, for readers on TCP: those on unix sockets cannot tell a reset."""

    def columns(some: list[Result]) -> Sequence[str]:
        return [joined(outcomes(owner, some)) for owner in results]

    def outcomes(owner: str, some: list[Result]) -> list[str]:
        own = {id(r) for r in results[owner]}
        return sorted(r.outcome for r in some if id(r) in own and r.cell.reader_family == "tcp")

    everything = [result for some in results.values() for result in some]
    return table(("one side", "the other side", *results), folded(everything, columns))


def write(name: str, text: str, document: Path = DOCUMENT) -> None:
    """Replaces the generated block of that name in the document."""
    begin, end = f"<!-- generated: {name}: begin -->", f"<!-- generated: {name}: end -->"
    before = document.read_text(encoding="utf-8")
    block = re.compile(f"({re.escape(begin)}\n).*?({re.escape(end)})", re.DOTALL)
    after, count = block.subn(lambda match: f"{match[1]}\n{text}\n{match[2]}", before)
    if count != 1:
        raise ValueError(f"{document} has no block '{name}'")
    document.write_text(after, encoding="utf-8")
