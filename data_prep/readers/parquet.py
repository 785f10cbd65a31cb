"""Reads ratings from Parquet files."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.readers.columnar import read_batches
from data_prep.readers.fetching import InputFile
from data_prep.readers.formats import Layout, damage_error
from data_prep.readers.reading import Part, Reading

_BUFFER_BYTES = 1 << 20


def read_parquet(
    files: Sequence[InputFile], layout: Layout, reading: Reading
) -> Iterator[Part]:
    """Yields the valid ratings of Parquet files, in order.

    Args:
        files: files of one layout.
        layout: the layout.
        reading: the context of reading.

    Raises:
        UserError: if a file is damaged.
    """
    headers = layout.headers_by_role
    batch_size = reading.rows_per_part // 4
    tables = (
        (file.number, file.name, _read_file(file, headers, batch_size))
        for file in files
    )
    return read_batches(tables, headers, reading)


def _read_file(
    file: InputFile, headers: dict[str, str], batch_size: int
) -> Iterator[pa.RecordBatch]:
    """Yields batches with columns named by role.

    Arrow reads a few pages at a time, however large the row groups are.
    """
    try:
        # Pre-buffering would keep all of the file in memory.
        with pq.ParquetFile(
            file.path, buffer_size=_BUFFER_BYTES, pre_buffer=False
        ) as content:
            for batch in content.iter_batches(
                batch_size, columns=[*headers.values()], use_threads=False
            ):
                yield pa.record_batch(
                    {role: batch[header] for role, header in headers.items()}
                )
    except (pa.ArrowException, OSError) as error:
        raise damage_error(file, error) from error
