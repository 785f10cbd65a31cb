"""Describes what a preparation would recognize and hold out."""

import collections
import dataclasses
import datetime
import functools
import itertools
import tempfile
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from data_prep.engine.assignment import SplitRule, choose_unit
from data_prep.engine.checks import check_subsets, check_usable
from data_prep.engine.finish import count_dropped
from data_prep.engine.partition import choose_buckets
from data_prep.engine.request import Request
from data_prep.engine.resources import Resources, check_disks
from data_prep.engine.shards import add_counts
from data_prep.engine.spill import SpilledRatings
from data_prep.engine.stages import Stages, Totals
from data_prep.engine.suspicions import suspect_columns, suspect_values
from data_prep.engine.vocabulary import (
    KnownItems,
    Vocabulary,
    build_requested_vocabulary,
    read_known_items,
)
from data_prep.options import Options
from data_prep.ratings import Statistics
from data_prep.readers.reading import Part, Reading
from data_prep.rules.rejects import Rejects
from data_prep.sources.source import Source
from data_prep.splits.base import Split
from data_prep.splits.registry import SPLITS, make_split

_NUM_FIRST_ROWS = 5

# The histogram of the ratings.
_MAX_BARS, _NUM_RANGES, _BAR_LENGTH = 22, 10, 40


def describe(
    source: Source,
    split: Split | None,
    seed: int,
    options: Options,
    resources: Resources,
) -> Iterator[str]:
    """Yields lines that describe a source and the counts of splits.

    Args:
        source: the source.
        split: the split to try; `None` for all that suit the source.
        seed: the seed of random choices.
        options: the optional settings.
        resources: the memory and the cores to use.

    Raises:
        UserError: as `data_prep.prepare.prepare` does with the same
            arguments, but only after the lines that help to see why.
    """
    if split is not None:
        Request(source, split, seed, 1, options)  # Checks that they agree.
    with tempfile.TemporaryDirectory(prefix="data_prep-") as temp_dir:
        known_items = read_known_items(options, temp_dir)
        num_rows = source.estimate_rows()
        check_disks(num_rows, temp_dir, temp_dir)
        reading = Reading(
            temp_dir,
            Rejects(),
            options.scale,
            resources.database_bytes,
            resources.rows_per_part,
        )
        yield from source.explain(reading)
        buckets = choose_buckets(1, num_rows, resources.rows_per_bucket)
        with Stages(buckets, temp_dir, resources.num_threads) as stages:
            parts = source.read(reading)
            first = next(parts, pa.table({}).slice)()
            yield from _describe_first_rows(first)
            spilled, statistics = stages.read(
                _put_back(first, parts), num_rows, options.missing_values
            )
            yield from _describe_statistics(statistics, reading.rejects)
            check_usable(
                split, options, statistics, reading.rejects, where="above"
            )
            trial = _Trial(
                source, seed, options, temp_dir, stages, spilled, statistics
            )
            if split is None:
                yield from trial.describe_all(known_items)
            else:
                yield from trial.describe(split, known_items)


@dataclasses.dataclass(frozen=True, eq=False)
class _Trial:
    """Tries splits on ratings that have been read.

    Args:
        source: the source of the ratings.
        seed: the seed of random choices.
        options: the optional settings.
        temp_dir: a local directory for temporary files.
        stages: the stages of the preparation.
        spilled: the ratings.
        statistics: their statistics.
    """

    source: Source
    seed: int
    options: Options
    temp_dir: str
    stages: Stages
    spilled: SpilledRatings
    statistics: Statistics

    def describe(self, split: Split, known_items: KnownItems) -> Iterator[str]:
        """Yields what a split holds; nothing is left to find when it is made.

        Raises:
            UserError: if a subset is empty.
        """
        totals = self._assign(split, keep=True)
        yield from self._describe_ids(totals)
        vocabulary = self._build_vocabulary(totals, known_items)
        num_items = len(vocabulary.items.item_ids)
        serialized = functools.reduce(
            add_counts, self.stages.serialize(vocabulary.indices, num_items)
        )
        dropped = count_dropped(self.statistics, totals.dropped, serialized)
        check_subsets(split, serialized, dropped)
        yield "Split:"
        kept = serialized.num_ratings | {
            f"{subset}, item_without_training_ratings": count
            for subset, count in serialized.num_cold_ratings.items()
        }
        yield _describe_split(split.name, kept, dropped)

    def describe_all(self, known_items: KnownItems) -> Iterator[str]:
        """Yields what each split that suits the source would hold."""
        trials = [
            (split.name, self._assign(split, keep=False))
            for split in _list_splits(self.source, self.statistics)
        ]
        _, totals = trials[0]
        yield from self._describe_ids(totals)
        self._build_vocabulary(totals, known_items)
        yield (
            "Splits, before users and items without training ratings are left"
            " out:"
        )
        for name, totals in trials:
            if totals.num_ratings["train"]:
                yield _describe_split(name, totals.num_ratings, totals.dropped)

    def _assign(self, split: Split, *, keep: bool) -> Totals:
        cuts = split.find_cuts(
            lambda shares: self.stages.find_quantiles(self.spilled, shares)
        )
        rule = SplitRule(
            split, self.seed, cuts, self.options.min_user_ratings, self._unit
        )
        return self.stages.assign(self.spilled, rule, keep=keep)

    def _describe_ids(self, totals: Totals) -> Iterator[str]:
        num_users, num_items = totals.num_users, len(self.spilled.item_ids)
        yield f"Users: {num_users:,}"
        yield f"Items: {num_items:,}"
        for suspicion in suspect_columns(
            num_users, num_items, self.statistics.num_ratings
        ):
            yield f"Warning: {suspicion}"

    def _build_vocabulary(
        self, totals: Totals, known_items: KnownItems
    ) -> Vocabulary:
        return build_requested_vocabulary(
            self.source,
            self.options,
            known_items,
            self.spilled.item_ids,
            totals.item_counts,
            self._unit,
            self.temp_dir,
        )

    @property
    def _unit(self) -> float:
        return choose_unit(self.statistics.rating_range)


def _put_back(first: pa.Table, parts: Iterator[Part]) -> Iterator[Part]:
    if first.num_columns:
        parts = itertools.chain([lambda: first], parts)
    return parts


def _describe_first_rows(table: pa.Table) -> Iterator[str]:
    yield "First rows:"
    for row in table.slice(0, _NUM_FIRST_ROWS).to_pylist():
        yield "  " + ", ".join(
            f"{name} {value!r}" for name, value in row.items()
        )


def _describe_statistics(
    statistics: Statistics, rejects: Rejects
) -> Iterator[str]:
    yield f"Ratings: {statistics.num_ratings:,}"
    if statistics.num_missing:
        yield f"Not rated (--missing-value): {statistics.num_missing:,}"
    if statistics.num_ratings:
        yield "Scale: {:g} to {:g}".format(*statistics.rating_range)
        yield from _describe_histogram(statistics)
    if statistics.num_timestamps:
        first, last = map(_format_time, statistics.time_range)
        yield f"Time: {first} to {last} (UTC)"
    num_without = statistics.num_ratings - statistics.num_timestamps
    if num_without:
        yield f"Without a time: {num_without:,}"
    for reason, count in sorted(rejects.counts.items()):
        yield f"Unusable, {reason}: {count:,}"
    for row in rejects.first[:_NUM_FIRST_ROWS]:
        yield f"  {row.message}"
    if statistics.num_ratings:
        for suspicion in suspect_values(statistics):
            yield f"Warning: {suspicion}"


def _format_time(seconds: float) -> str:
    try:
        time = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError):  # Before the year 1, or after 9999.
        return f"{seconds:.0f} seconds since 1970"
    return f"{time:%Y-%m-%d %H:%M}"


def _describe_histogram(statistics: Statistics) -> Iterator[str]:
    """Yields a line for each rating or, if there are many, for each range."""
    values, counts = statistics.histogram.values, statistics.histogram.counts
    if len(values) <= _MAX_BARS:
        labels = [f"{value:g}" for value in values]
    else:
        counts, edges = np.histogram(values, _NUM_RANGES, weights=counts)
        labels = [f"{a:g} to {b:g}" for a, b in itertools.pairwise(edges)]
    width = max(map(len, labels))
    for label, count in zip(labels, counts.tolist(), strict=True):
        share = count / statistics.num_ratings
        bar = "#" * round(_BAR_LENGTH * share)
        line = f"  {label:>{width}} {share:6.1%} {int(count):>13,} {bar}"
        yield line.rstrip()


def _list_splits(source: Source, statistics: Statistics) -> list[Split]:
    """Returns the splits that suit a source with some ratings."""
    if source.has_test_ratings():
        return [
            make_split(name)
            for name, split in SPLITS.items()
            if split.needs_test_ratings and split.source_fold is None
        ]
    has_timestamps = statistics.num_timestamps == statistics.num_ratings
    return [
        make_split(name)
        for name, split in SPLITS.items()
        if not split.needs_test_ratings
        and (has_timestamps or not split.needs_timestamps)
    ]


def _describe_split(
    name: str, num_ratings: Mapping[str, int], dropped: Mapping[str, int]
) -> str:
    counts = collections.Counter(num_ratings) + collections.Counter(
        {f"dropped, {reason}": count for reason, count in dropped.items()}
    )
    return f"  {name}: " + "; ".join(
        f"{count:,} {outcome}" for outcome, count in counts.items()
    )
