"""Ratings in Parquet files.

Arrow reads them a few pages at a time, whatever the size of their row groups;
threads look at the rows.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.sources.formats import Layout, explain_damage
from data_prep.sources.local_files import InputFile
from data_prep.sources.parts import Part, join_batches
from data_prep.sources.rejects import Rejected, Rejects
from data_prep.sources.validation import Scale, explain, validate

_BUFFER_BYTES = 1 << 20
# A row's place is its file's number, and its own in these bits.
_ROW_BITS = 40


def read_parquet(
    files: Sequence[InputFile],
    layout: Layout,
    rejects: Rejects,
    scale: Scale | None,
    rows_per_part: int,
) -> Iterator[Part]:
    """Yields the ratings of files of one layout, in order.

    Args:
        files: the files.
        layout: where they keep what.
        rejects: takes the rows that cannot be used.
        scale: the ratings that may be, if that is known.
        rows_per_part: rows of a part, about.

    Raises:
        UserError: when a file cannot be read to its end.
    """
    reader = _Reader(files, layout, rejects, scale)
    for table in join_batches(reader.read(rows_per_part // 4), rows_per_part):
        yield functools.partial(reader.keep_good, table)


class _Reader:
    """Reads files of one layout."""

    def __init__(
        self,
        files: Sequence[InputFile],
        layout: Layout,
        rejects: Rejects,
        scale: Scale | None,
    ) -> None:
        self._files = files
        self._headers = layout.header_of
        self._rejects = rejects
        self._scale = scale

    def read(self, batch_size: int) -> Iterator[pa.RecordBatch]:
        """Yields the fields by role, and the `place` of each row."""
        for number, file in enumerate(self._files):
            try:
                yield from self._read_file(number, file.path, batch_size)
            except (pa.ArrowException, OSError) as error:
                raise explain_damage(file, error) from error

    def _read_file(
        self, number: int, path: str, batch_size: int
    ) -> Iterator[pa.RecordBatch]:
        row = 1
        # Read ahead, all that was read of a file would stay in memory.
        with pq.ParquetFile(
            path, buffer_size=_BUFFER_BYTES, pre_buffer=False
        ) as content:
            for batch in content.iter_batches(
                batch_size, columns=[*self._headers.values()], use_threads=False
            ):
                fields = {
                    role: batch[header]
                    for role, header in self._headers.items()
                }
                rows = np.arange(row, row + len(batch))
                row += len(batch)
                place = pa.array(rows + (number << _ROW_BITS))
                yield pa.record_batch({**fields, "place": place})

    def keep_good(self, table: pa.Table) -> pa.Table:
        """Returns the rows that can be used, and rejects the others."""
        columns = {role: role for role in self._headers}
        rows = validate(table, columns, self._scale, "place")
        return self._rejects.sift(rows, self._describe)

    def _describe(self, row: dict[str, Any]) -> Rejected:
        number, line = divmod(row["place"], 1 << _ROW_BITS)
        file = self._files[number]
        return Rejected(
            file.number,
            line,
            row["reason"],
            file.name,
            ",".join(text or "" for text in row["texts"]),
            explain(row, self._headers, self._scale),
            line,
            before_line=", row ",
        )
