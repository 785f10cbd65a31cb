"""The stages of a preparation on one machine.

    source -> blocks, cut by bucket -> assigned ratings -> records

Each stage works on all buckets before the next one starts: it needs what the
one before found out about all ratings. What is between them lies on disk, so
memory does not grow with the data.
"""

import collections
import concurrent.futures
import dataclasses
import fractions
import functools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from data_prep.engine.assignment import (
    Assigned,
    Assignment,
    ItemCounts,
    Rule,
    assign,
)
from data_prep.engine.buckets import Buckets
from data_prep.engine.encoding import Encoded, encode
from data_prep.engine.progress import Progress
from data_prep.engine.resources import map_in_order
from data_prep.engine.spill import (
    Block,
    Blocks,
    partition,
    read_column,
    write_block,
    write_column,
)
from data_prep.ratings import (
    ROW_COLUMNS,
    Statistics,
    combine,
    deduplicate,
    describe_rows,
    from_table,
    merge,
    sort_distinct,
)
from data_prep.sources.parts import Part
from data_prep.splits.quantiles import (
    NUM_ROUNDS,
    Wanted,
    count_digits,
    narrow,
    to_number,
)

Result = TypeVar("Result")

_Counts = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Totals:
    """What became of all ratings, and what trains of every item."""

    num_ratings: collections.Counter[str]
    dropped: collections.Counter[str]
    item_counts: ItemCounts


class Stages:
    """Prepares one source.

    Args:
        buckets: how the users are divided.
        temp_dir: a local directory for what is between the stages.
        num_threads: threads that work side by side.
    """

    def __init__(
        self, buckets: Buckets, temp_dir: str, num_threads: int
    ) -> None:
        self._buckets = buckets
        self._temp_dir = temp_dir
        self._num_threads = num_threads
        self._pool = concurrent.futures.ThreadPoolExecutor(num_threads)

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, *unused: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(
        self,
        parts: Iterator[Part],
        estimated_rows: int,
        check: Callable[[int], None] | None = None,
    ) -> tuple[Blocks, Statistics]:
        """Reads all parts, and cuts their rows by bucket.

        Args:
            parts: the source.
            estimated_rows: about how many rows there are.
            check: called after each part, with the rows so far that can be
                used. What it raises ends the reading.
        """
        blocks, found = [], []
        num_rows = 0
        progress = Progress("Read", "ratings", estimated_rows)
        results = map_in_order(
            self._pool, self._read_part, enumerate(parts), self._num_threads
        )
        for block, statistics in results:
            blocks.append(block)
            found.append(statistics)
            num_rows += statistics.num_rows
            progress.add(statistics.num_rows)
            if check is not None:
                check(num_rows)
        progress.finish()
        item_ids = sort_distinct([block.item_ids for block in blocks])
        return Blocks.of(blocks, item_ids), combine(found)

    def _read_part(
        self, numbered: tuple[int, Part]
    ) -> tuple[Block, Statistics]:
        number, part = numbered
        rows = from_table(part())
        directory = self._make_dir("block", number)
        block = write_block(partition(rows, self._buckets), directory)
        return block, describe_rows(rows)

    def find_quantiles(
        self, blocks: Blocks, shares: Sequence[fractions.Fraction]
    ) -> list[float]:
        """Returns the timestamp that follows each share of all of them."""
        directory = self._make_dir("timestamps", 0)

        def write_timestamps(bucket: int) -> None:
            rows = deduplicate(merge(blocks.read(bucket)))
            write_column(directory, str(bucket), rows.timestamps)

        def count(bucket: int, wanted: Sequence[Wanted]) -> _Counts:
            dtype = ROW_COLUMNS["timestamps"]
            numbers = read_column(directory, str(bucket), dtype)
            return count_digits(numbers, wanted)

        for _ in self._map_buckets(write_timestamps):
            pass
        wanted = [Wanted(share) for share in shares]
        for _ in range(NUM_ROUNDS):
            counts = self._map_buckets(functools.partial(count, wanted=wanted))
            wanted = narrow(wanted, functools.reduce(np.add, counts))
        shutil.rmtree(directory)
        return [to_number(number) for number in wanted]

    def assign(
        self, blocks: Blocks, rule: Rule, *, keep: bool = True
    ) -> Totals:
        """Assigns all ratings to groups.

        Args:
            blocks: what was read. It is removed, unless nothing is kept.
            rule: what decides.
            keep: whether the ratings will be encoded, and not only counted.
        """

        def assign_bucket(bucket: int) -> Assignment:
            assignment = assign(blocks.read(bucket), rule)
            if keep:
                directory = self._make_dir("assigned", bucket)
                assignment.assigned.write(directory)
            return assignment

        num_items = len(blocks.item_ids)
        counts = np.zeros(num_items, np.int64)
        sums = np.zeros(num_items, np.int64)
        totals = Totals(
            collections.Counter(),
            collections.Counter(),
            ItemCounts(counts, sums),
        )
        progress = Progress("Assigned", "ratings", blocks.num_rows)
        for assignment in self._map_buckets(assign_bucket):
            totals.num_ratings.update(assignment.num_ratings)
            totals.dropped.update(assignment.dropped)
            counts += assignment.item_counts.counts
            sums += assignment.item_counts.sums
            progress.add(
                sum(assignment.num_ratings.values())
                + sum(assignment.dropped.values())
            )
        progress.finish()
        if keep:
            for block in blocks.blocks:
                shutil.rmtree(block.directory)
        return totals

    def encode(
        self, indices: npt.NDArray[np.int32], num_items: int
    ) -> Iterator[Encoded]:
        """Yields the records of each bucket, in order.

        Args:
            indices: for each item of the source its index in the vocabulary,
                -1 if it has none.
            num_items: the size of the vocabulary.
        """

        def encode_bucket(bucket: int) -> Encoded:
            directory = self._find_dir("assigned", bucket)
            encoded = encode(Assigned.read(directory), indices, num_items)
            shutil.rmtree(directory)
            return encoded

        return self._map_buckets(encode_bucket)

    def _map_buckets(
        self, function: Callable[[int], Result]
    ) -> Iterator[Result]:
        return map_in_order(
            self._pool,
            function,
            range(self._buckets.num_buckets),
            self._num_threads,
        )

    def _find_dir(self, kind: str, number: int) -> str:
        return os.path.join(self._temp_dir, f"{kind}-{number}")

    def _make_dir(self, kind: str, number: int) -> str:
        directory = self._find_dir(kind, number)
        os.mkdir(directory)
        return directory
