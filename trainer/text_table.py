"""Tables of text for the terminal."""

from collections.abc import Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """A table of text.

    Attributes:
        title: what is compared.
        header: the names of the columns.
        rows: the cells; the first of a row says what it is about.
    """

    title: str
    header: list[str]
    rows: list[list[str]]


def format_table(table: Table) -> str:
    """Aligns a table for the terminal, with its title above."""
    lines: Sequence[Sequence[str]] = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [table.title]
    for cells in lines:
        first, *others = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(
                zip(cells, widths, strict=True)
            )
        )
        text.append("  ".join(["", first, *others]).rstrip())
    return "\n".join(text)
