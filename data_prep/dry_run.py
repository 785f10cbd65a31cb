"""Says what would be prepared, without writing it."""

import collections
import datetime
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from data_prep.engine.assignment import Rule, choose_unit
from data_prep.engine.buckets import choose_buckets
from data_prep.engine.resources import Resources, check_disks
from data_prep.engine.stages import Stages
from data_prep.options import Options
from data_prep.ratings import Statistics
from data_prep.sources.catalog import Reading, Source
from data_prep.sources.parts import Part
from data_prep.sources.rejects import Rejects
from data_prep.splits.catalog import SPLITS, Split, make_split

_NUM_FIRST_ROWS = 5


def describe(
    source: Source,
    split: Split | None,
    seed: int,
    options: Options,
    resources: Resources,
) -> Iterator[str]:
    """Yields lines that say what was recognised in a source.

    Args:
        source: where the ratings come from.
        split: the split to try; all that can be, if it is `None`.
        seed: what decides where the split leaves it to chance.
        options: what else would be done.
        resources: what may be taken.
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
            blocks, statistics = stages.read(_put_back(first, parts), num_rows)
            yield from _describe_rows(statistics, reading.rejects)
            item_ids = len(blocks.item_ids)
            yield f"Items: {item_ids:,}"
            yield (
                "Splits, before users and items without training ratings are"
                " left out:"
            )
            for tried in [split] if split else _list_splits(statistics):
                cuts = tried.find_cuts(
                    lambda shares: stages.find_quantiles(blocks, shares)
                )
                rule = Rule(
                    tried,
                    seed,
                    cuts,
                    options.min_user_ratings,
                    choose_unit(statistics.ratings),
                )
                totals = stages.assign(blocks, rule, keep=False)
                if split or totals.num_ratings["train"]:
                    yield _describe_split(
                        tried.name, totals.num_ratings, totals.dropped
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


def _describe_rows(statistics: Statistics, rejects: Rejects) -> Iterator[str]:
    yield f"Ratings: {statistics.num_rows:,}"
    if not statistics.num_rows:
        return
    yield "Scale: {:g} to {:g}".format(*statistics.ratings)
    if statistics.num_timestamps:
        first, last = (
            datetime.datetime.fromtimestamp(moment, datetime.UTC)
            for moment in statistics.timestamps
        )
        yield f"Time: {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} (UTC)"
    missing = statistics.num_rows - statistics.num_timestamps
    if missing:
        yield f"Without a time: {missing:,}"
    for reason, number in sorted(rejects.counts.items()):
        yield f"Unusable, {reason}: {number:,}"
    for row in rejects.first[:_NUM_FIRST_ROWS]:
        yield f"  {row.message}"


def _list_splits(statistics: Statistics) -> Sequence[Split]:
    """Returns the splits that can be tried on the rows of a source."""
    if not statistics.num_rows:
        return []
    has_timestamps = statistics.num_timestamps == statistics.num_rows
    return [
        make_split(name)
        for name, split in SPLITS.items()
        if has_timestamps or not split.needs_timestamps
    ]


def _describe_split(
    name: str, num_ratings: Mapping[str, int], dropped: Mapping[str, int]
) -> str:
    counts = collections.Counter(num_ratings) + collections.Counter(
        {f"dropped, {reason}": number for reason, number in dropped.items()}
    )
    return f"  {name}: " + "; ".join(
        f"{number:,} {group}" for group, number in counts.items()
    )
