"""Prepares ratings for training, on one machine."""

from absl import logging

from data_prep.dataset.manifest import Manifest
from data_prep.engine.assignment import SplitRule, choose_unit
from data_prep.engine.checks import check_rows, check_rows_so_far
from data_prep.engine.finish import Result, finish
from data_prep.engine.partition import choose_buckets
from data_prep.engine.request import Request, find_prepared
from data_prep.engine.resources import Resources, check_disks
from data_prep.engine.shards import write_shards
from data_prep.engine.stages import Stages
from data_prep.engine.suspicions import suspect_columns
from data_prep.engine.vocabulary import (
    build_requested_vocabulary,
    read_known_items,
)
from data_prep.engine.workspace import clear_output, working_directory
from data_prep.options import Options
from data_prep.readers.reading import Reading
from data_prep.rules.rejects import Rejects
from data_prep.sources.source import Source
from data_prep.splits.base import Split


def prepare(
    source: Source,
    split: Split,
    output_dir: str,
    *,
    seed: int = 0,
    num_shards: int = 8,
    options: Options | None = None,
    resources: Resources | None = None,
) -> Manifest:
    """Splits ratings, and writes them as prepared data.

    The same arguments give the same bytes, whatever the resources. If the
    directory has been prepared with the same arguments, it is left as it is;
    files of an interrupted run are replaced. Other files in the directory are
    not touched.

    Args:
        source: the source of the ratings.
        split: the split.
        output_dir: the output directory, local or remote.
        seed: the seed of random choices.
        num_shards: the number of record files.
        options: the optional settings.
        resources: the memory and the cores to use.

    Returns:
        The manifest of the prepared data.

    Raises:
        UserError: if the ratings cannot be read or leave a subset empty,
            `output_dir` holds other prepared data, or there is too little
            disk space.

    Example:
        >>> source = make_source("movielens-1m")
        >>> prepare(source, make_split("user-time"), "/tmp/movielens")
    """
    request = Request(source, split, seed, num_shards, options or Options())
    manifest = find_prepared(request, output_dir)
    if manifest is not None:
        return manifest
    clear_output(output_dir)
    with working_directory(output_dir) as temp_dir:
        result = _run(request, output_dir, resources or Resources(), temp_dir)
        return finish(request, result, output_dir, temp_dir)


def _run(
    request: Request, output_dir: str, resources: Resources, temp_dir: str
) -> Result:
    """Runs all stages, and writes the record files."""
    source, split, options = request.source, request.split, request.options
    known_items = read_known_items(options, temp_dir)
    num_rows = source.estimate_rows()
    check_disks(num_rows, temp_dir, output_dir)
    buckets = choose_buckets(
        request.num_shards, num_rows, resources.rows_per_bucket
    )
    reading = Reading(
        temp_dir,
        Rejects(),
        options.scale,
        resources.database_bytes,
        resources.rows_per_part,
    )
    with Stages(buckets, temp_dir, resources.num_threads) as stages:
        spilled, statistics = stages.read(
            source.read(reading),
            num_rows,
            options.missing_values,
            lambda num_valid_rows: check_rows_so_far(
                request, num_valid_rows, num_rows, reading.rejects, output_dir
            ),
        )
        check_rows(request, statistics, reading.rejects, output_dir)
        cuts = split.find_cuts(
            lambda shares: stages.find_quantiles(spilled, shares)
        )
        unit = choose_unit(statistics.rating_range)
        totals = stages.assign(
            spilled,
            SplitRule(
                split, request.seed, cuts, options.min_user_ratings, unit
            ),
        )
        for suspicion in suspect_columns(
            totals.num_users, len(spilled.item_ids), statistics.num_ratings
        ):
            logging.warning("%s", suspicion)
        vocabulary = build_requested_vocabulary(
            source,
            options,
            known_items,
            spilled.item_ids,
            totals.item_counts,
            unit,
            temp_dir,
        )
        num_items = len(vocabulary.items.item_ids)
        serialized, digests = write_shards(
            stages.serialize(vocabulary.indices, num_items),
            buckets,
            output_dir,
            num_ratings=totals.num_ratings.total(),
        )
    return Result(
        statistics=statistics,
        rejects=reading.rejects,
        cuts=cuts,
        dropped=totals.dropped,
        vocabulary=vocabulary,
        serialized=serialized,
        digests=digests,
    )
