"""Who ends a session how, times what the other side is doing meanwhile: the cells of a matrix.

In each cell one side, the source, sends a stream and ends (or does not); the other side, the
reader, receives it in its manner. A cell says what both must see: the contract is in docs/ends.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from ends_sockets import EPIPE, FAMILIES, ORDERLY, RESET, TIMEOUT

STREAM_BYTES = 600_000
ANSWER_BYTES = 50_000
SIDES = ("endpoint", "client")

# How the source ends.
FINISH, CLOSE, RESETS, UNREAD, SILENT = (
    "finishes sending, still reads",
    "closes",
    "resets",
    "closes with input unread",
    "falls silent",
)
ENDS = (FINISH, CLOSE, RESETS, UNREAD, SILENT)
# The source's stream was complete.
IN_ORDER = (FINISH, CLOSE)

# What the reader does.
FAST, SLOW, SLOWER, LATE, NEVER, ONE, FLOOD = (
    "reads fast",
    "reads slowly",
    "reads slowly, for longer than `flush_timeout`",
    "begins to read late",
    "does not read for longer than `flush_timeout`",
    "reads slowly and sends one more byte",
    "reads slowly and sends without a pause",
)
MANNERS = (FAST, SLOW, SLOWER, LATE, NEVER, ONE, FLOOD)
SENDS = (ONE, FLOOD)
# Those cells have a short flush_timeout.
SHORT_FLUSH = (SLOWER, NEVER)
FLUSH_TIMEOUT = "2s"
RATES = {FAST: None, SLOW: 150_000, SLOWER: 75_000, LATE: None, NEVER: None}
LATE_SECONDS = 2.5
NEVER_SECONDS = 7.0


@dataclass(frozen=True)
class Cell:
    """One square of the matrix."""

    side: str
    end: str
    manner: str
    listener: str
    endpoint: str

    @property
    def source_family(self) -> str:
        """The kind of the socket on which the stream is sent."""
        return self.endpoint if self.side == "endpoint" else self.listener

    @property
    def reader_family(self) -> str:
        """The kind of the socket on which the stream is read."""
        return self.listener if self.side == "endpoint" else self.endpoint

    @property
    def rate(self) -> float | None:
        """At which the reader reads, in bytes per second."""
        return RATES.get(self.manner, RATES[SLOW])

    @property
    def text(self) -> str:
        """The cell in words."""
        reader = "client" if self.side == "endpoint" else "endpoint"
        return (
            f"{self.source_family} {self.side} {self.end}; "
            f"{self.reader_family} {reader} {self.manner}"
        )


def in_words(is_whole: bool, ending: str) -> str:
    """What a reader received, in the words of a table."""
    ends = {
        ORDERLY: "then an orderly end",
        RESET: "then a reset",
        TIMEOUT: "and the session stays open",
    }
    return f"{'everything' if is_whole else 'a part'}, {ends.get(ending, ending)}"


@dataclass(frozen=True)
class Result:
    """What both sides of a cell saw. `writes` is how the reader's own writing ended, `answered` how
    much it sent, `answer` how much of that the source received."""

    cell: Cell
    received: int
    ending: str
    is_intact: bool
    writes: str = ""
    answered: int = 0
    answer: int = 0
    answer_ending: str = ""
    is_acknowledged: bool = True
    trouble: str = ""

    @property
    def figure(self) -> str:
        """What was seen, in words."""
        if self.trouble:
            return self.trouble
        text = f"{self.received:,} B, {self.ending}"
        if not self.is_intact:
            text += ", not those that were sent"
        if self.cell.end == FINISH:
            text += f"; {self.answer:,} of {self.answered:,} B back, {self.answer_ending}"
        if self.writes:
            text += f"; writing: {self.writes}"
        return text

    @property
    def outcome(self) -> str:
        """What the reader received, in the words of a table."""
        return in_words(self.received == STREAM_BYTES, self.ending)

    @property
    def other_outcome(self) -> str:
        """What became of the bytes that the reader sent, in the words of a table."""
        if self.cell.end == FINISH:
            return in_words(self.answer == self.answered, self.answer_ending)
        if self.cell.manner == FLOOD and self.cell.end != SILENT:
            return "writing fails" if self.writes in (EPIPE, RESET) else f"writing {self.writes}"
        return "–"


def cells() -> Iterator[Cell]:
    """All of them. A unix socket cannot reset."""
    for side, end, manner, listener, endpoint in itertools.product(
        SIDES, ENDS, MANNERS, FAMILIES, FAMILIES
    ):
        cell = Cell(side, end, manner, listener, endpoint)
        if end == RESETS and cell.source_family == "unix":
            continue
        yield cell


def endings(cell: Cell) -> tuple[str, ...]:
    """How the stream may end for the reader once everything has arrived."""
    if cell.end == SILENT:
        return (TIMEOUT,)
    # Closing a unix socket loses nothing that was written to it, whatever was left unread.
    if cell.end in IN_ORDER or cell.source_family == "unix":
        return (ORDERLY,)
    # Over a unix socket there is no reset: a stream that was cut may look complete.
    return (RESET,) if cell.reader_family == "tcp" else (RESET, ORDERLY)


def is_right(result: Result) -> bool:
    """Whether that is what the contract promises."""
    cell = result.cell
    if result.trouble or not result.is_intact:
        return False
    cut = (RESET,) if cell.reader_family == "tcp" else (RESET, ORDERLY)
    whole = result.received == STREAM_BYTES and result.ending in endings(cell)
    if not whole:
        # flush_timeout cuts a transfer without progress. Bytes that the proxy's kernel had not
        # acknowledged when the source failed are lost with the source.
        may_be_cut = cell.manner == NEVER and cell.end != SILENT or not result.is_acknowledged
        return may_be_cut and result.received < STREAM_BYTES and result.ending in cut
    if cell.end == FINISH and cell.manner != NEVER:
        return result.answer == result.answered and result.answer_ending == ORDERLY
    if cell.manner == FLOOD and cell.end != SILENT and cell.end != FINISH:
        return result.writes in (EPIPE, RESET)
    return True


def is_false_end(result: Result) -> bool:
    """A TCP reader sees a stream that was cut as complete, or a complete one as cut."""
    cell = result.cell
    if cell.reader_family != "tcp" or cell.manner == NEVER:
        return False
    return (result.ending == ORDERLY) != (endings(cell) == (ORDERLY,))
