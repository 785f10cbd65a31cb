"""Recognizes how a text file divides into fields, and divides it.

The recognition looks at the first lines only. It tries the usual separators,
and takes the one that divides most lines like the first into fields that look
right to the caller.
"""

import contextlib
import csv
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

# The default is less than DuckDB takes of a line.
csv.field_size_limit(1 << 21)

# Records on which separators are tried.
_NUM_TRIED = 100
_NAMES = {
    ",": "comma-separated",
    ";": "semicolon-separated",
    "\t": "tab-separated",
    " ": "blank-separated",
}
_ENCLOSED = re.compile(r'"(?:[^"]|"")*"')


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How a line divides into fields.

    Args:
        delimiter: the separator; one blank stands for any number of them.
        quotes: whether a quoted field may hold the separator and line ends,
            as in CSV. Otherwise a field in quotes just loses them.
        skips_blanks: whether a quote may follow a blank after a separator.
    """

    delimiter: str = ","
    quotes: bool = True
    skips_blanks: bool = False

    def __str__(self) -> str:
        default = f"{self.delimiter!r}-separated"
        return _NAMES.get(self.delimiter, default)

    def read_records(
        self, lines: Iterable[str]
    ) -> Iterator[tuple[int, list[str]]]:
        """Yields the line number, from 1, and the fields of each record.

        Args:
            lines: the lines, with their ends.
        """
        if not self.quotes:
            for number, line in enumerate(lines, start=1):
                yield number, self._split(line.rstrip("\r\n"))
            return
        reader = csv.reader(
            lines,
            delimiter=self.delimiter,
            skipinitialspace=self.skips_blanks,
        )
        number = 1
        for fields in reader:
            yield number, fields
            number = reader.line_num + 1

    def split(self, line: str) -> list[str]:
        """Returns the fields of one line."""
        return next((f for _, f in self.read_records([line])), [])

    def _split(self, line: str) -> list[str]:
        if self.delimiter == " ":
            return list(map(unquote, line.split()))
        return list(map(unquote, line.split(self.delimiter)))


#: What is tried, the likelier first.
_CANDIDATES = (
    Dialect("\t", quotes=False),
    Dialect("\t"),
    Dialect("::", quotes=False),
    Dialect(","),
    Dialect(";"),
    Dialect("|", quotes=False),
    Dialect("|"),
    Dialect(" ", quotes=False),
    Dialect(" ", skips_blanks=True),
)


def recognize_dialect(
    lines: Sequence[str],
    looks_right: Callable[[Sequence[str]], bool],
    *,
    delimiter: str | None = None,
    min_fields: int = 3,
) -> Dialect:
    """Returns the dialect of a text.

    Args:
        lines: its first lines.
        looks_right: whether the fields of the first record make sense.
        delimiter: the separator, if it is known.
        min_fields: the number of fields from which a separator is one.
    """
    candidates: Sequence[Dialect] = _CANDIDATES
    if delimiter is not None:
        candidates = [c for c in _CANDIDATES if c.delimiter == delimiter]
        candidates = candidates or [Dialect(delimiter, len(delimiter) == 1)]

    def rate(dialect: Dialect) -> tuple[bool, bool, float]:
        records = read_first_records(dialect, lines)
        if not records:
            return False, False, 0
        first = records[0]
        num_alike = sum(len(fields) == len(first) for fields in records)
        return (
            len(first) >= min_fields,
            looks_right(first),
            num_alike / len(records),
        )

    rated = [(rate(candidate), candidate) for candidate in candidates]
    (is_divided, _, _), best = max(rated, key=lambda pair: pair[0])
    if not is_divided and delimiter is None:
        return Dialect(",")
    if best.quotes and any(
        re.match(r'[ \t]+"', field)
        for fields in read_first_records(best, lines)
        for field in fields
    ):
        return dataclasses.replace(best, skips_blanks=True)
    return best


def read_first_records(
    dialect: Dialect, lines: Iterable[str]
) -> list[list[str]]:
    """Returns the fields of the first records that are not empty."""
    records: list[list[str]] = []
    with contextlib.suppress(csv.Error):  # The text has another dialect.
        for _, fields in dialect.read_records(lines):
            if fields not in ([], [""]):
                records.append(fields)
            if len(records) == _NUM_TRIED:
                break
    return records


def unquote(field: str) -> str:
    """Removes the quotes around a field, if they enclose all of it."""
    if field.startswith('"') and _ENCLOSED.fullmatch(field):
        return field[1:-1].replace('""', '"')
    return field
