"""Ratings in, prepared data out, on one machine."""

from data_prep.dataset.manifest import Manifest
from data_prep.engine.assignment import Rule, choose_unit
from data_prep.engine.buckets import choose_buckets
from data_prep.engine.output import (
    Request,
    Result,
    check_rows,
    check_rows_so_far,
    find_prepared,
    finish,
    make_vocabulary,
    remove_leftovers,
    working_directory,
)
from data_prep.engine.resources import Resources, check_disks
from data_prep.engine.shards import write_shards
from data_prep.engine.stages import Stages
from data_prep.options import Options
from data_prep.sources.catalog import Reading, Source
from data_prep.sources.rejects import Rejects
from data_prep.splits.catalog import Split


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
    """Turns ratings into prepared data.

    The same arguments give the same bytes, whatever the resources. A
    directory that was prepared with the same arguments is left as it is;
    what an interrupted run left is replaced. Other files in the directory
    are not touched.

    Args:
        source: where the ratings come from.
        split: how they are held out.
        output_dir: the directory to fill, local or remote.
        seed: what decides where the split leaves it to chance.
        num_shards: the number of files that the users are spread over.
        options: what else to do.
        resources: what the preparation may take.

    Returns:
        What was prepared.

    Raises:
        UserError: when the ratings cannot be read or do not fill every part
            of the split, when `output_dir` holds other prepared data, or
            when there is no room for the result.

    Example:
        >>> source = make_source("movielens-1m")
        >>> prepare(source, make_split("user-time"), "/tmp/movielens")
    """
    request = Request(source, split, seed, num_shards, options or Options())
    manifest = find_prepared(request, output_dir)
    if manifest is not None:
        return manifest
    remove_leftovers(output_dir)
    with working_directory(output_dir) as temp_dir:
        result = _write(request, output_dir, resources or Resources(), temp_dir)
        return finish(request, result, output_dir, temp_dir)


def _write(
    request: Request, output_dir: str, resources: Resources, temp_dir: str
) -> Result:
    """Writes the record files."""
    split = request.split
    num_rows = request.source.estimate_rows()
    check_disks(num_rows, temp_dir, output_dir)
    buckets = choose_buckets(
        request.num_shards, num_rows, resources.rows_per_bucket
    )
    reading = Reading(
        temp_dir,
        Rejects(),
        request.options.rating_scale,
        resources.database_bytes,
        resources.rows_per_part,
    )
    with Stages(buckets, temp_dir, resources.num_threads) as stages:
        blocks, statistics = stages.read(
            request.source.read(reading),
            num_rows,
            lambda num_good_rows: check_rows_so_far(
                request, num_good_rows, num_rows, reading.rejects, output_dir
            ),
        )
        check_rows(request, statistics, reading.rejects, output_dir)
        cuts = split.find_cuts(
            lambda shares: stages.find_quantiles(blocks, shares)
        )
        unit = choose_unit(statistics.ratings)
        rule = Rule(
            split, request.seed, cuts, request.options.min_user_ratings, unit
        )
        totals = stages.assign(blocks, rule)
        vocabulary = make_vocabulary(
            request, blocks.item_ids, totals.item_counts, unit, temp_dir
        )
        num_items = len(vocabulary.items.item_ids)
        encoded, digests = write_shards(
            stages.encode(vocabulary.indices, num_items),
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
        encoded=encoded,
        digests=digests,
    )
