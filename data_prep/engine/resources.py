"""What a preparation may take: memory, threads, room on disks."""

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

# What Python, TensorFlow and Arrow take before there is any data.
_BASE_BYTES = 800 << 20
_SMALLEST_LIMIT = _BASE_BYTES + (200 << 20)
# What reading a part of a source takes.
_PART_BYTES = 300 << 20
# Bytes a row: while it is read, while its bucket is worked on, on the disk
# between the two, and in the records.
_READING_BYTES = 1000
_WORKING_BYTES = 320
_TEMPORARY_BYTES = 42
_RECORD_BYTES = 10

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclasses.dataclass(frozen=True)
class Resources:
    """Limits of a preparation.

    Args:
        memory_limit: bytes that the process may take.
        num_cores: cores to use, as far as there is memory for as many
            threads.
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
        """Memory for DuckDB, which reads while threads work."""
        return self._room // 3

    @property
    def rows_per_part(self) -> int:
        """Rows that are read at once, from tables."""
        return min(self._room // _READING_BYTES, 1 << 20)

    @property
    def num_threads(self) -> int:
        """Threads that work side by side."""
        return max(min(self.num_cores, self._room // _PART_BYTES), 1)

    @property
    def rows_per_bucket(self) -> int:
        """Rows that a thread may hold at once."""
        return self._room // (self.num_threads * _WORKING_BYTES)

    @property
    def _room(self) -> int:
        return self.memory_limit - _BASE_BYTES


def parse_bytes(text: str) -> int:
    """Reads a size such as `2GB`, `1.5 GiB` or `800M`.

    Raises:
        UserError: when it is none.
    """
    match = re.fullmatch(r"([\d.]+)\s*([KMGT]?)(i?B)?", text.strip(), re.I)
    try:
        return int(float(match[1]) * _UNITS[match[2].upper()])  # type: ignore[index]
    except (TypeError, ValueError):
        raise UserError(
            f"--memory-limit must be a size such as 2GB. Received: {text!r}"
        ) from None


def format_bytes(number: float) -> str:
    """Returns a size as people read it."""
    if number < 1 << 30:
        return f"{number / (1 << 20):.0f} MB"
    return f"{number / (1 << 30):.1f} GB"


def check_disks(num_rows: int, temp_dir: str, output_dir: str) -> None:
    """Says what room is needed, and raises where there is less.

    Args:
        num_rows: about how many ratings will be prepared.
        temp_dir: the directory of what is on the way.
        output_dir: the directory of the result; only a local one is checked.

    Raises:
        UserError: when a disk has too little room.
    """
    temporary, records = num_rows * _TEMPORARY_BYTES, num_rows * _RECORD_BYTES
    logging.info(
        "About %s ratings: %s in %s on the way (TMPDIR names another place),"
        " %s of records in %s.",
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
                "TMPDIR names another place for what is on the way."
                if directory == temp_dir
                else "Make room, or choose another --output-dir."
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
    """Yields the results in the order of the items.

    Args:
        pool: what runs the function.
        function: what is done with each item.
        items: read no further than `ahead` of what was yielded, so that
            results do not pile up.
        ahead: items worked on at once.
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
