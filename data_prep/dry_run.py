"""Describes what a preparation would recognize and hold out."""

import collections
import datetime
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from data_prep.engine.assignment import SplitRule, choose_unit
from data_prep.engine.partition import choose_buckets
from data_prep.engine.resources import Resources, check_disks
from data_prep.engine.stages import Stages
from data_prep.engine.suspicions import suspect_columns, suspect_values
from data_prep.options import Options
from data_prep.ratings import Statistics
from data_prep.sources.rejects import Rejects
from data_prep.sources.source import Part, Reading, Source
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
    """
    with tempfile.TemporaryDirectory(prefix="data_prep-") as temp_dir:
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
            descriptions = []
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
                    descriptions.append(
                        _describe_split(
                            candidate.name, totals.num_ratings, totals.dropped
                        )
                    )
            num_users, num_items = totals.num_users, len(spilled.item_ids)
            yield f"Users: {num_users:,}"
            yield f"Items: {num_items:,}"
            for suspicion in suspect_columns(
                num_users, num_items, statistics.num_ratings
            ):
                yield f"Warning: {suspicion}"
            yield (
                "Splits, before users and items without training ratings are"
                " left out:"
            )
            yield from descriptions


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
    if not statistics.num_ratings:
        return
    yield "Scale: {:g} to {:g}".format(*statistics.rating_range)
    yield from _describe_histogram(statistics)
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
    for suspicion in suspect_values(statistics):
        yield f"Warning: {suspicion}"


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
