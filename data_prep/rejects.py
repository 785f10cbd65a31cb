"""Rows that cannot be used: counted by reason, the first few kept."""

import collections
import csv
import dataclasses
import threading
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from data_prep.errors import UserError

FILE_NAME = "rejected.csv"

#: Rows that are kept of each reason.
_KEPT = 10


@dataclasses.dataclass(frozen=True, order=True)
class Rejected:
    """One row that cannot be used.

    Args:
        file_number: the place of its file among the files.
        line: its line, or its row in a file without lines, from 1; 0 where
            it could not be found again.
        reason: why, in one word.
        file: the name of its file.
        text: the row.
        message: what is wrong with it, as a sentence.
    """

    file_number: int
    line: int
    reason: str
    file: str
    text: str
    message: str


class Rejects:
    """Collects rejected rows from several threads.

    What it keeps does not depend on who comes first.
    """

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self._kept: dict[str, list[Rejected]] = collections.defaultdict(list)
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def count(self, reason: str, number: int = 1) -> None:
        """Counts rows."""
        with self._lock:
            self.counts[reason] += number

    def may_keep(self, reason: str, file_number: int) -> bool:
        """Says whether a row of this file could be among the first few."""
        with self._lock:
            kept = self._kept[reason]
            return len(kept) < _KEPT or file_number <= kept[-1].file_number

    def keep(self, rows: Iterable[Rejected]) -> None:
        """Keeps rows that were counted, if they are among the first few."""
        with self._lock:
            for row in rows:
                kept = self._kept[row.reason]
                kept.append(row)
                kept.sort()
                del kept[_KEPT:]

    @property
    def first(self) -> list[Rejected]:
        """The rows that were kept, in the order of the files."""
        with self._lock:
            return sorted(row for kept in self._kept.values() for row in kept)

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

    def check(self, num_rows: int, max_bad_rows: float) -> None:
        """Raises when more rows were rejected than may be.

        Args:
            num_rows: rows read, those included.
            max_bad_rows: the fraction of them that may be bad.

        Raises:
            UserError: for the first bad row, if there are too many.
        """
        num_rejected = self.counts.total()
        if num_rejected <= max_bad_rows * num_rows:
            return
        reasons = ", ".join(
            f"{n:,} {k}" for k, n in sorted(self.counts.items())
        )
        raise UserError(
            f"{self.first[0].message}. Of {num_rows:,} rows {num_rejected:,}"
            f" cannot be used ({reasons}), more than the {max_bad_rows:.4%}"
            f" that --max-bad-rows allows; the first are in {FILE_NAME}."
        )


def write_rejects(rejects: Rejects, output_dir: str) -> None:
    """Writes the rows that were kept to `rejected.csv`."""
    path = tf.io.gfile.join(output_dir, FILE_NAME)
    with tf.io.gfile.GFile(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "line", "reason", "row"])
        for row in rejects.first:
            line = row.line or ""
            writer.writerow([row.file, line, row.reason, row.text])
