"""The stages of a preparation on one machine.

    source -> spilled ratings, by bucket -> assigned ratings -> records

Each stage works on all buckets before the next one starts, because it needs
what the previous one learned about all ratings. Intermediate results are kept
on disk, so memory does not grow with the data.
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
    AssignedRatings,
    Assignment,
    ItemCounts,
    SplitRule,
    assign,
)
from data_prep.engine.partition import Buckets, partition
from data_prep.engine.progress import Progress
from data_prep.engine.resources import map_in_order
from data_prep.engine.shards import SerializedUsers, serialize_users
from data_prep.engine.spill import (
    SpilledPart,
    SpilledRatings,
    read_batch,
    spill,
    write_batches,
)
from data_prep.ratings import (
    Statistics,
    combine_statistics,
    compute_statistics,
    deduplicate,
    drop_values,
    from_table,
    merge,
    sort_unique,
)
from data_prep.readers.reading import Part
from data_prep.splits.quantiles import (
    NUM_ROUNDS,
    QuantileSearch,
    count_digits,
    narrow,
)

Result = TypeVar("Result")

_Counts = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Totals:
    """Counts of all ratings of a source.

    Args:
        num_users: the number of users with ratings.
        num_ratings: the number of ratings, by subset.
        dropped: the number of dropped ratings, by reason.
        item_counts: the training ratings of every item.
    """

    num_users: int
    num_ratings: collections.Counter[str]
    dropped: collections.Counter[str]
    item_counts: ItemCounts


class Stages:
    """Runs the stages for one source; a context manager.

    Args:
        buckets: the division of the users.
        temp_dir: a local directory for intermediate results.
        num_threads: the number of parallel threads.
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
        missing_values: Sequence[float] = (),
        check: Callable[[int], None] | None = None,
    ) -> tuple[SpilledRatings, Statistics]:
        """Reads all parts of a source, and spills them by bucket.

        Args:
            parts: the parts.
            estimated_rows: approximate number of rows, for the progress.
            missing_values: ratings that mean "not rated" and are dropped.
            check: called after each part with the number of valid rows so
                far. An exception that it raises ends the reading.
        """
        spilled, statistics = [], []
        num_rows = 0
        progress = Progress("Read", "ratings", estimated_rows)
        results = map_in_order(
            self._pool,
            functools.partial(self._read_part, missing_values=missing_values),
            enumerate(parts),
            self._num_threads,
        )
        for spilled_part, part_statistics in results:
            spilled.append(spilled_part)
            statistics.append(part_statistics)
            num_valid = part_statistics.num_ratings
            num_valid += part_statistics.num_missing
            num_rows += num_valid
            progress.add(num_valid)
            if check is not None:
                check(num_rows)
        progress.finish()
        item_ids = sort_unique([part.item_ids for part in spilled])
        return (
            SpilledRatings.join(spilled, item_ids),
            combine_statistics(statistics),
        )

    def _read_part(
        self, numbered: tuple[int, Part], missing_values: Sequence[float]
    ) -> tuple[SpilledPart, Statistics]:
        number, load = numbered
        rows = from_table(load())
        ratings = drop_values(rows, missing_values)
        directory = self._make_dir("spill", number)
        spilled = spill(partition(ratings, self._buckets), directory)
        num_missing = len(rows) - len(ratings)
        return spilled, compute_statistics(ratings, num_missing)

    def find_quantiles(
        self, spilled: SpilledRatings, shares: Sequence[fractions.Fraction]
    ) -> list[float]:
        """Returns the timestamp that follows each share of all timestamps."""
        directory = self._make_dir("timestamps", 0)

        def path(bucket: int) -> str:
            return os.path.join(directory, f"{bucket}.arrow")

        def write_timestamps(bucket: int) -> None:
            ratings = deduplicate(merge(spilled.read(bucket)))
            write_batches(path(bucket), {"timestamps": ratings.timestamps})

        def count(bucket: int, searches: Sequence[QuantileSearch]) -> _Counts:
            timestamps = read_batch(path(bucket))["timestamps"].to_numpy()
            return count_digits(timestamps, searches)

        for _ in self._map_buckets(write_timestamps):
            pass
        searches = [QuantileSearch(share) for share in shares]
        for _ in range(NUM_ROUNDS):
            counts = self._map_buckets(
                functools.partial(count, searches=searches)
            )
            searches = narrow(searches, functools.reduce(np.add, counts))
        shutil.rmtree(directory)
        return [search.value for search in searches]

    def assign(
        self, spilled: SpilledRatings, rule: SplitRule, *, keep: bool = True
    ) -> Totals:
        """Assigns all ratings to subsets.

        Args:
            spilled: the ratings. Their files are removed if `keep`.
            rule: the rule.
            keep: whether to keep the assigned ratings for `serialize`, rather
                than only count them.
        """

        def assign_bucket(bucket: int) -> Assignment:
            assignment = assign(spilled.read(bucket), rule)
            if keep:
                directory = self._make_dir("assigned", bucket)
                assignment.assigned.write(directory)
            return assignment

        num_items = len(spilled.item_ids)
        counts = np.zeros(num_items, np.int64)
        sums = np.zeros(num_items, np.int64)
        num_users = 0
        num_ratings = collections.Counter[str]()
        dropped = collections.Counter[str]()
        progress = Progress("Assigned", "ratings", spilled.num_ratings)
        for assignment in self._map_buckets(assign_bucket):
            num_users += assignment.num_users
            num_ratings.update(assignment.num_ratings)
            dropped.update(assignment.dropped)
            counts += assignment.item_counts.counts
            sums += assignment.item_counts.sums
            progress.add(
                sum(assignment.num_ratings.values())
                + sum(assignment.dropped.values())
            )
        progress.finish()
        if keep:
            for part in spilled.parts:
                shutil.rmtree(part.directory)
        return Totals(num_users, num_ratings, dropped, ItemCounts(counts, sums))

    def serialize(
        self, indices: npt.NDArray[np.int32], num_items: int
    ) -> Iterator[SerializedUsers]:
        """Yields the serialized users of each bucket, in order.

        Args:
            indices: for each item of the source its index in the vocabulary,
                -1 for none.
            num_items: the size of the vocabulary.
        """

        def serialize_bucket(bucket: int) -> SerializedUsers:
            directory = self._find_dir("assigned", bucket)
            assigned = AssignedRatings.read(directory)
            serialized = serialize_users(assigned, indices, num_items)
            shutil.rmtree(directory)
            return serialized

        return self._map_buckets(serialize_bucket)

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
