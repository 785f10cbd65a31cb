"""Limits of a preparation: memory, threads and disk space."""

import collections
import concurrent.futures
import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from absl import logging

from data_prep.dataset.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Memory of Python, TensorFlow and Arrow before any data are read.
_BASE_BYTES = 800 << 20
_SMALLEST_LIMIT = _BASE_BYTES + (200 << 20)
# Memory to read one part of a source.
_PART_BYTES = 300 << 20
# Bytes per row: in memory while it is read, in memory while its bucket is
# processed, in the spill files, and in the records.
_READING_BYTES = 1000
_PROCESSING_BYTES = 320
_SPILL_BYTES = 42
_RECORD_BYTES = 10

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclasses.dataclass(frozen=True)
class Resources:
    """The memory and the cores that a preparation may use.

    Args:
        memory_limit: bytes that the process may take.
        num_cores: the number of cores; fewer are used if there is no memory
            for as many threads.
    """

    memory_limit: int = 2 << 30
    num_cores: int = dataclasses.field(
        default_factory=lambda: os.cpu_count() or 1
    )

    def __post_init__(self) -> None:
        if self.memory_limit < _SMALLEST_LIMIT:
            raise UserError(
                "--memory-limit must be at least"
                f" {format_bytes(_SMALLEST_LIMIT)}. Received:"
                f" {format_bytes(self.memory_limit)}"
            )

    @property
    def database_bytes(self) -> int:
        """The memory limit of DuckDB, which reads while threads work."""
        return self._free_bytes // 3

    @property
    def rows_per_part(self) -> int:
        """The number of rows per part of a table."""
        return min(self._free_bytes // _READING_BYTES, 1 << 20)

    @property
    def num_threads(self) -> int:
        """The number of parallel threads."""
        return max(min(self.num_cores, self._free_bytes // _PART_BYTES), 1)

    @property
    def rows_per_bucket(self) -> int:
        """The number of rows that a thread may process at once."""
        return self._free_bytes // (self.num_threads * _PROCESSING_BYTES)

    @property
    def _free_bytes(self) -> int:
        return self.memory_limit - _BASE_BYTES


def parse_bytes(text: str) -> int:
    """Parses a size such as `2GB`, `1.5 GiB` or `800M`.

    Raises:
        UserError: if it is not a size.
    """
    match = re.fullmatch(r"([\d.]+)\s*([KMGT]?)(i?B)?", text.strip(), re.I)
    try:
        return int(float(match[1]) * _UNITS[match[2].upper()])  # type: ignore[index]
    except (TypeError, ValueError):
        raise UserError(
            f"--memory-limit must be a size such as 2GB. Received: {text!r}"
        ) from None


def format_bytes(number: float) -> str:
    """Formats a size in MB or GB."""
    if number < 1 << 30:
        return f"{number / (1 << 20):.0f} MB"
    return f"{number / (1 << 30):.1f} GB"


def check_disks(num_rows: int, temp_dir: str, output_dir: str) -> None:
    """Logs the disk space that is needed, and checks that it is free.

    Args:
        num_rows: approximate number of ratings.
        temp_dir: the directory of temporary files.
        output_dir: the output directory; checked only if it is local.

    Raises:
        UserError: if a disk has too little space.
    """
    temporary, records = num_rows * _SPILL_BYTES, num_rows * _RECORD_BYTES
    logging.info(
        "About %s ratings: %s of temporary files in %s (TMPDIR names another"
        " place), %s of records in %s.",
        f"{num_rows:,}",
        format_bytes(temporary),
        temp_dir,
        format_bytes(records),
        output_dir,
    )
    needs = [(temp_dir, temporary)]
    if "://" not in output_dir:
        if os.stat(temp_dir).st_dev == os.stat(output_dir).st_dev:
            needs = [(temp_dir, temporary + records)]
        else:
            needs.append((output_dir, records))
    for directory, needed in needs:
        free = shutil.disk_usage(directory).free
        if free < needed:
            advice = (
                "TMPDIR names another place for temporary files."
                if directory == temp_dir
                else "Free some space, or choose another --output-dir."
            )
            raise UserError(
                f"{directory} has {format_bytes(free)} free, and about"
                f" {format_bytes(needed)} will be needed. {advice}"
            )


def map_in_order(
    pool: concurrent.futures.Executor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
) -> Iterator[Result]:
    """Applies a function in a pool; yields the results in order.

    Args:
        pool: the pool.
        function: the function.
        items: its arguments. They are read at most `ahead` of the results, so
            that results do not pile up.
        ahead: the number of items processed at once.
    """
    pending: collections.deque[concurrent.futures.Future[Result]] = (
        collections.deque()
    )
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
