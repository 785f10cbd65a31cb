"""Invalid rows: counted by reason, the first few of each kept."""

import collections
import csv
import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from data_prep.dataset.errors import UserError

FILE_NAME = "rejected.csv"

#: The number of rows kept per reason.
NUM_KEPT = 10


@dataclasses.dataclass(frozen=True)
class RejectedRow:
    """An invalid row.

    Args:
        file_number: the position of its file among the files.
        position: a number that increases with the position in the file.
        reason: the reason, in one word.
        file: the name of its file.
        text: the row.
        problem: what is wrong with it, as a sentence.
        line: its line, or its row in a file without lines, from 1; 0 if it
            was not found again, `None` if it was not searched yet.
        line_prefix: what separates the file and the line in messages.
    """

    file_number: int
    position: int
    reason: str
    file: str
    text: str
    problem: str
    line: int | None = None
    line_prefix: str = ":"

    @property
    def message(self) -> str:
        """The file, the line and the problem."""
        where = f"{self.line_prefix}{self.line}" if self.line else ""
        return f"{self.file}{where}: {self.problem}"


#: Finds the lines of some rows of a file, in order; 0 for an unknown line.
LineFinder = Callable[[Sequence[RejectedRow]], list[int]]


class Rejects:
    """Collects invalid rows from several threads.

    The rows kept do not depend on the order of the threads.
    """

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self._kept: dict[str, list[RejectedRow]] = collections.defaultdict(list)
        self._line_finders: dict[str, LineFinder] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.counts, self.first)

    def count(self, reason: str, number: int) -> None:
        """Counts invalid rows."""
        with self._lock:
            self.counts[reason] += number

    def sift(
        self, rows: pa.Table, describe: Callable[[dict[str, Any]], RejectedRow]
    ) -> pa.Table:
        """Returns the valid rows, and collects the others.

        Args:
            rows: a result of `row_rules.select_rows`, in order.
            describe: describes an invalid row.
        """
        reasons = rows["reason"]
        if reasons.null_count < len(rows):
            for reason in reasons.drop_null().unique().to_pylist():
                bad = rows.filter(pc.equal(reasons, reason))
                self.count(reason, len(bad))
                self.keep(map(describe, bad.slice(0, NUM_KEPT).to_pylist()))
            rows = rows.filter(reasons.is_null())
        return rows.select(["user_id", "item_id", "rating", "timestamp"])

    def keep(self, rows: Iterable[RejectedRow]) -> None:
        """Keeps the rows that are among the first few of their reason."""
        described = list(rows)  # May call `find_lines_with`, which locks.
        with self._lock:
            for row in described:
                kept = self._kept[row.reason]
                kept.append(row)
                kept.sort(key=_position)
                del kept[NUM_KEPT:]

    def find_lines_with(self, file: str, find: LineFinder) -> None:
        """Sets the function that finds the lines of a file's rows.

        It reads the file a second time, so it is called only once, and only
        for the rows that are kept in the end.
        """
        with self._lock:
            self._line_finders[file] = find

    @property
    def first(self) -> list[RejectedRow]:
        """The first rows of each reason, in the order of files and lines."""
        with self._lock:
            kept = [row for rows in self._kept.values() for row in rows]
            self._kept.clear()
        self.keep(self._add_lines(kept))
        with self._lock:
            return sorted(
                (row for rows in self._kept.values() for row in rows),
                key=lambda row: (row.file_number, row.line, row.position),
            )

    def _add_lines(self, rows: Sequence[RejectedRow]) -> Iterator[RejectedRow]:
        without_line = collections.defaultdict(list)
        for row in rows:
            if row.line is None:
                without_line[row.file].append(row)
            else:
                yield row
        for file, rows_of_file in without_line.items():
            rows_of_file.sort(key=_position)
            lines = self._line_finders[file](rows_of_file)
            for row, line in zip(rows_of_file, lines, strict=True):
                yield dataclasses.replace(row, line=line)

    def add(self, other: "Rejects", first_file: int) -> None:
        """Adds the rejects of another piece of the source.

        Args:
            other: the rejects, with files numbered from 0.
            first_file: the number of the first of these files here.
        """
        for reason, number in other.counts.items():
            self.count(reason, number)
        self.keep(
            dataclasses.replace(row, file_number=first_file + row.file_number)
            for row in other.first
        )

    def check(
        self,
        num_rows: int,
        max_bad_rows: float,
        expected_rows: int = 0,
        where: str = f"in {FILE_NAME}",
    ) -> None:
        """Checks that not too many rows are invalid.

        Args:
            num_rows: the number of rows read, including invalid ones.
            max_bad_rows: the fraction of rows that may be invalid.
            expected_rows: the number of rows expected in total, if not all
                are read yet.
            where: where the user finds the first of them.

        Raises:
            UserError: about the first invalid row, if there are too many.
        """
        num_rejected = self.counts.total()
        if num_rejected <= max_bad_rows * max(num_rows, expected_rows):
            return
        reasons = ", ".join(
            f"{n:,} {k}" for k, n in sorted(self.counts.items())
        )
        so_far = " read so far" if expected_rows else ""
        raise UserError(
            f"{self.first[0].message}. Of {num_rows:,} rows{so_far}"
            f" {num_rejected:,} cannot be used ({reasons}), more than the"
            f" {100 * max_bad_rows:g} % that --max-bad-rows allows; the first"
            f" are {where}."
        )


def _restore(
    counts: collections.Counter[str], first: Sequence[RejectedRow]
) -> Rejects:
    rejects = Rejects()
    rejects.counts.update(counts)
    rejects.keep(first)
    return rejects


def _position(row: RejectedRow) -> tuple[int, int]:
    return row.file_number, row.position


def write_rejects(rejects: Rejects, output_dir: str) -> None:
    """Writes the first rows of each reason to `rejected.csv`."""
    path = tf.io.gfile.join(output_dir, FILE_NAME)
    with tf.io.gfile.GFile(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "line", "reason", "row"])
        for row in rejects.first:
            line = row.line or ""
            writer.writerow([row.file, line, row.reason, row.text])
