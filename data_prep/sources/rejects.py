"""Rows that cannot be used: counted by reason, the first few kept."""

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

#: Rows that are kept of each reason.
NUM_KEPT = 10


@dataclasses.dataclass(frozen=True)
class Rejected:
    """One row that cannot be used.

    Args:
        file_number: the place of its file among the files.
        position: a number that grows with its place in the file.
        reason: why, in one word.
        file: the name of its file.
        text: the row.
        complaint: what is wrong with it, as a sentence.
        line: its line, or its row in a file without lines, from 1; 0 where
            it could not be found again, `None` where nobody looked yet.
        before_line: what stands between the name of the file and the line.
    """

    file_number: int
    position: int
    reason: str
    file: str
    text: str
    complaint: str
    line: int | None = None
    before_line: str = ":"

    @property
    def message(self) -> str:
        """The complaint, and where it is about."""
        where = f"{self.before_line}{self.line}" if self.line else ""
        return f"{self.file}{where}: {self.complaint}"


#: Returns the lines of some rows of a file, in order; 0 for an unknown one.
FindLines = Callable[[Sequence[Rejected]], list[int]]


class Rejects:
    """Collects rejected rows from several threads.

    What it keeps does not depend on who comes first.
    """

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self._kept: dict[str, list[Rejected]] = collections.defaultdict(list)
        self._find_lines: dict[str, FindLines] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.counts, self.first)

    def count(self, reason: str, number: int = 1) -> None:
        """Counts rows."""
        with self._lock:
            self.counts[reason] += number

    def sift(
        self, rows: pa.Table, describe: Callable[[dict[str, Any]], Rejected]
    ) -> pa.Table:
        """Returns the rows that can be used, and takes the others.

        Args:
            rows: what `validation.select_rows` gives, in order.
            describe: returns what to keep of a row that cannot be used.
        """
        reasons = rows["reason"]
        if reasons.null_count < len(rows):
            for reason in reasons.drop_null().unique().to_pylist():
                bad = rows.filter(pc.equal(reasons, reason))
                self.count(reason, len(bad))
                self.keep(map(describe, bad.slice(0, NUM_KEPT).to_pylist()))
            rows = rows.filter(reasons.is_null())
        return rows.select(["user_id", "item_id", "rating", "timestamp"])

    def keep(self, rows: Iterable[Rejected]) -> None:
        """Keeps rows that were counted, if they are among the first few."""
        made = list(rows)  # Before the lock, which making them may take.
        with self._lock:
            for row in made:
                kept = self._kept[row.reason]
                kept.append(row)
                kept.sort(key=_place)
                del kept[NUM_KEPT:]

    def find_lines_with(self, file: str, find: FindLines) -> None:
        """Says how to find the lines of a file's rows that have none yet.

        It takes a walk through the file, so it is done once, for what is
        kept in the end.
        """
        with self._lock:
            self._find_lines[file] = find

    @property
    def first(self) -> list[Rejected]:
        """The rows that were kept, in the order of files and lines."""
        with self._lock:
            kept = [row for rows in self._kept.values() for row in rows]
            self._kept.clear()
        self.keep(self._add_lines(kept))
        with self._lock:
            return sorted(
                (row for rows in self._kept.values() for row in rows),
                key=lambda row: (row.file_number, row.line, row.position),
            )

    def _add_lines(self, rows: Sequence[Rejected]) -> Iterator[Rejected]:
        wanted = collections.defaultdict(list)
        for row in rows:
            if row.line is None:
                wanted[row.file].append(row)
            else:
                yield row
        for file, unplaced in wanted.items():
            unplaced.sort(key=_place)
            lines = self._find_lines[file](unplaced)
            for row, line in zip(unplaced, lines, strict=True):
                yield dataclasses.replace(row, line=line)

    def add(self, other: "Rejects", first_file: int) -> None:
        """Adds what was rejected of files that come later.

        Args:
            other: it counts its files from 0.
            first_file: the number of the first of them here.
        """
        for reason, number in other.counts.items():
            self.count(reason, number)
        self.keep(
            dataclasses.replace(row, file_number=first_file + row.file_number)
            for row in other.first
        )

    def check(
        self, num_rows: int, max_bad_rows: float, expected_rows: int = 0
    ) -> None:
        """Raises when more rows were rejected than may be.

        Args:
            num_rows: rows read, those included.
            max_bad_rows: the fraction of them that may be bad.
            expected_rows: how many there may be in the end, if they are not
                all read yet.

        Raises:
            UserError: for the first bad row, if there are too many.
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
            f" are in {FILE_NAME}."
        )


def _restore(
    counts: collections.Counter[str], first: Sequence[Rejected]
) -> Rejects:
    rejects = Rejects()
    rejects.counts.update(counts)
    rejects.keep(first)
    return rejects


def _place(row: Rejected) -> tuple[int, int]:
    return row.file_number, row.position


def write_rejects(rejects: Rejects, output_dir: str) -> None:
    """Writes the rows that were kept to `rejected.csv`."""
    path = tf.io.gfile.join(output_dir, FILE_NAME)
    with tf.io.gfile.GFile(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "line", "reason", "row"])
        for row in rejects.first:
            line = row.line or ""
            writer.writerow([row.file, line, row.reason, row.text])
