"""Describes what a preparation would recognize and hold out."""

import collections
import datetime
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from data_prep.engine.assignment import SplitRule, choose_unit
from data_prep.engine.partition import choose_buckets
from data_prep.engine.resources import Resources, check_disks
from data_prep.engine.stages import Stages
from data_prep.options import Options
from data_prep.ratings import Statistics
from data_prep.sources.rejects import Rejects
from data_prep.sources.source import Part, Reading, Source
from data_prep.splits.base import Split
from data_prep.splits.registry import SPLITS, make_split

_NUM_FIRST_ROWS = 5


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
    """
    with tempfile.TemporaryDirectory(prefix="data_prep-") as temp_dir:
        num_rows = source.estimate_rows()
        check_disks(num_rows, temp_dir, temp_dir)
        reading = Reading(
            temp_dir,
            Rejects(),
            options.rating_scale,
            resources.database_bytes,
            resources.rows_per_part,
        )
        yield from source.explain(reading)
        buckets = choose_buckets(1, num_rows, resources.rows_per_bucket)
        with Stages(buckets, temp_dir, resources.num_threads) as stages:
            parts = source.read(reading)
            first = next(parts, pa.table({}).slice)()
            yield from _describe_first_rows(first)
            spilled, statistics = stages.read(_put_back(first, parts), num_rows)
            yield from _describe_statistics(statistics, reading.rejects)
            yield f"Items: {len(spilled.item_ids):,}"
            yield (
                "Splits, before users and items without training ratings are"
                " left out:"
            )
            for candidate in [split] if split else _list_splits(statistics):
                cuts = candidate.find_cuts(
                    lambda shares: stages.find_quantiles(spilled, shares)
                )
                rule = SplitRule(
                    candidate,
                    seed,
                    cuts,
                    options.min_user_ratings,
                    choose_unit(statistics.rating_range),
                )
                totals = stages.assign(spilled, rule, keep=False)
                if split or totals.num_ratings["train"]:
                    yield _describe_split(
                        candidate.name, totals.num_ratings, totals.dropped
                    )


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
    if not statistics.num_ratings:
        return
    yield "Scale: {:g} to {:g}".format(*statistics.rating_range)
    if statistics.num_timestamps:
        first, last = (
            datetime.datetime.fromtimestamp(seconds, datetime.UTC)
            for seconds in statistics.time_range
        )
        yield f"Time: {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} (UTC)"
    num_missing = statistics.num_ratings - statistics.num_timestamps
    if num_missing:
        yield f"Without a time: {num_missing:,}"
    for reason, count in sorted(rejects.counts.items()):
        yield f"Unusable, {reason}: {count:,}"
    for row in rejects.first[:_NUM_FIRST_ROWS]:
        yield f"  {row.message}"


def _list_splits(statistics: Statistics) -> Sequence[Split]:
    """Returns the splits that suit ratings of these statistics."""
    if not statistics.num_ratings:
        return []
    has_timestamps = statistics.num_timestamps == statistics.num_ratings
    return [
        make_split(name)
        for name, split in SPLITS.items()
        if has_timestamps or not split.needs_timestamps
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
