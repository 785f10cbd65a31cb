"""The stages of a preparation on an Apache Beam runner.

The same request gives the same files as on one machine, because the same
functions process each bucket of users. Machines exchange buckets of ratings and
counts of items, and all of them receive the vocabulary.
"""

import functools
import hashlib
import pickle
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from absl import logging
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from data_prep.dataset.manifest import Manifest
from data_prep.dataset.schema import shard_name
from data_prep.engine.assignment import (
    AssignedRatings,
    ItemCounts,
    SplitRule,
    assign,
    choose_unit,
)
from data_prep.engine.checks import check_rows
from data_prep.engine.finish import Result, finish
from data_prep.engine.partition import Buckets, choose_buckets, partition
from data_prep.engine.request import Request, find_prepared
from data_prep.engine.shards import (
    SerializedUsers,
    add_counts,
    serialize_users,
)
from data_prep.engine.suspicions import suspect_columns
from data_prep.engine.vocabulary import (
    KnownItems,
    Vocabulary,
    build_requested_vocabulary,
    read_known_items,
)
from data_prep.engine.workspace import clear_output, working_directory
from data_prep.options import Options
from data_prep.ratings import (
    Ratings,
    Statistics,
    combine_statistics,
    compute_statistics,
    deduplicate,
    drop_values,
    find_positions,
    from_table,
    merge,
    unify_items,
)
from data_prep.readers.reading import Reading
from data_prep.rules.rejects import Rejects
from data_prep.sources.source import Source
from data_prep.splits.quantiles import (
    NUM_ROUNDS,
    QuantileSearch,
    count_digits,
    narrow,
)

# Approximate number of ratings that a worker holds at once.
_ROWS_PER_BUCKET = 1_000_000
_CHUNK_BYTES = 1 << 24

# Some ratings with the number of their piece of the source, and of their part
# of the piece.
_NumberedPart = tuple[int, int, Ratings]

# More files than one piece of a source has.
_MAX_FILES_PER_PIECE = 1 << 20


def prepare(
    request: Request, output_dir: str, options: PipelineOptions
) -> Manifest:
    """Splits ratings, and writes them as prepared data.

    Writes the same files as `data_prep.prepare.prepare`.

    Args:
        request: the request.
        output_dir: the output directory, which all workers must reach.
        options: the options of the runner.

    Returns:
        The manifest of the prepared data.

    Raises:
        UserError: as `data_prep.prepare.prepare` does.
    """
    manifest = find_prepared(request, output_dir)
    if manifest is not None:
        return manifest
    clear_output(output_dir)
    work_dir = tf.io.gfile.join(output_dir, "users", "buckets")
    tf.io.gfile.makedirs(work_dir)
    with working_directory(output_dir) as temp_dir:
        known_items = read_known_items(request.options, temp_dir)
        with beam.Pipeline(options=options) as pipeline:
            _build(pipeline, request, known_items, output_dir, work_dir)
        path = _result_path(work_dir)
        with tf.io.gfile.GFile(path, "rb") as file:
            result = pickle.loads(file.read())
        check_rows(request, result.statistics, result.rejects, output_dir)
        for suspicion in suspect_columns(
            result.serialized.num_users,
            len(result.vocabulary.items.item_ids),
            result.statistics.num_ratings,
        ):
            logging.warning("%s", suspicion)
        manifest = finish(request, result, output_dir, temp_dir)
        tf.io.gfile.rmtree(work_dir)
        return manifest


def _build(
    pipeline: beam.Pipeline,
    request: Request,
    known_items: KnownItems,
    output_dir: str,
    work_dir: str,
) -> None:
    source, options = request.source, request.options
    buckets = choose_buckets(
        request.num_shards, source.estimate_rows(), _ROWS_PER_BUCKET
    )
    read = (
        pipeline
        | "Sources" >> beam.Create(list(enumerate(source.divide())))
        | "Spread" >> beam.Reshuffle()
        | "Read"
        >> beam.ParDo(_Read(buckets, options)).with_outputs(
            "statistics", "rejects", main="parts"
        )
    )
    statistics = read.statistics | "Statistics" >> beam.CombineGlobally(
        lambda parts: combine_statistics(list(parts))
    )
    rejects = (
        read.rejects
        | "All rejects" >> beam.combiners.ToList()
        | "Rejects" >> beam.Map(_join_rejects)
    )
    parts = read.parts | "Buckets" >> beam.GroupByKey()
    cuts = _find_cuts(pipeline, request, parts)
    rule = statistics | "Rule" >> beam.Map(
        _make_rule, AsSingleton(cuts), request=request
    )
    assigned = parts | "Assign" >> beam.FlatMap(
        _assign, AsSingleton(rule)
    ).with_outputs("items", "dropped", main="assigned")
    dropped = assigned.dropped | "Dropped" >> beam.CombinePerKey(sum)
    vocabulary = (
        assigned.items
        | "Add up items"
        >> beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, sum))
        | "All items" >> beam.combiners.ToList()
        | "Vocabulary"
        >> beam.Map(
            _build_vocabulary,
            AsSingleton(rule),
            request=request,
            known_items=known_items,
        )
    )
    item_ids = vocabulary | "Item ids" >> beam.Map(
        lambda built: built.items.item_ids
    )
    serialized = (
        assigned.assigned
        | "Serialize"
        >> beam.Map(_serialize, AsSingleton(item_ids), work_dir=work_dir)
        | "Add counts" >> beam.CombineGlobally(_add_counts).without_defaults()
    )
    digests = (
        pipeline
        | "Shards" >> beam.Create(range(buckets.num_shards))
        | "Spread shards" >> beam.Reshuffle()
        | "Write"
        >> beam.Map(
            _join_buckets,
            AsSingleton(serialized),
            buckets=buckets,
            work_dir=work_dir,
            output_dir=output_dir,
        )
    )
    _ = (
        pipeline
        | "Once" >> beam.Create([None])
        | "Result"
        >> beam.Map(
            _write_result,
            _result_path(work_dir),
            statistics=AsSingleton(statistics),
            rejects=AsSingleton(rejects),
            cuts=AsSingleton(cuts),
            dropped=beam.pvalue.AsDict(dropped),
            vocabulary=AsSingleton(vocabulary),
            serialized=AsSingleton(serialized),
            digests=beam.pvalue.AsDict(digests),
        )
    )


class _Read(beam.DoFn):
    """Reads a piece of a source, and partitions its ratings."""

    def __init__(self, buckets: Buckets, options: Options) -> None:
        self._buckets = buckets
        self._options = options

    def process(self, element: tuple[int, Source]) -> Iterator[Any]:
        """Yields ratings by bucket, and by tag statistics and rejects.

        The numbers of the piece and of its part give the ratings their place
        in the order of the rows, which decides among duplicates.
        """
        number, source = element
        rejects = Rejects()
        with tempfile.TemporaryDirectory(prefix="data_prep-") as temp_dir:
            reading = Reading(temp_dir, rejects, self._options.scale)
            for part, load in enumerate(source.read(reading)):
                rows = from_table(load())
                missing_values = self._options.missing_values
                ratings = drop_values(rows, missing_values)
                yield TaggedOutput(
                    "statistics",
                    compute_statistics(ratings, len(rows) - len(ratings)),
                )
                content = partition(ratings, self._buckets)
                for bucket in range(self._buckets.num_buckets):
                    if (
                        content.user_edges[bucket]
                        < content.user_edges[bucket + 1]
                    ):
                        yield bucket, (number, part, content.select(bucket))
        yield TaggedOutput("rejects", (number, rejects))


def _join_rejects(numbered: Iterable[tuple[int, Rejects]]) -> Rejects:
    joined = Rejects()
    for number, rejects in numbered:
        joined.add(rejects, number * _MAX_FILES_PER_PIECE)
    return joined


def _find_cuts(
    pipeline: beam.Pipeline, request: Request, parts: PCollection
) -> PCollection:
    """Returns a collection of one element, the cuts of the split."""
    shares: list[Any] = []

    # The split is asked twice: which quantiles it needs, and for the cuts.
    def record_shares(needed: Sequence[Any]) -> list[float]:
        shares.extend(needed)
        return [0.0] * len(needed)

    cuts = request.split.find_cuts(record_shares)
    if not shares:
        return pipeline | "Cuts" >> beam.Create([cuts])
    timestamps = parts | "Timestamps" >> beam.Map(_get_timestamps)
    searches = pipeline | "Shares" >> beam.Create(
        [[QuantileSearch(share) for share in shares]]
    )
    for number in range(NUM_ROUNDS):
        counts = (
            timestamps
            | f"Count {number}" >> beam.Map(count_digits, AsSingleton(searches))
            | f"Sum {number}" >> beam.CombineGlobally(_add).without_defaults()
        )
        searches = searches | f"Narrow {number}" >> beam.Map(
            narrow, AsSingleton(counts)
        )
    return searches | "Cuts" >> beam.Map(
        lambda finished: request.split.find_cuts(
            lambda _: [search.value for search in finished]
        )
    )


def _add(arrays: Iterable[Any]) -> Any:
    return functools.reduce(np.add, arrays)


def _get_timestamps(element: tuple[int, Iterable[_NumberedPart]]) -> Any:
    _, parts = element
    return deduplicate(merge(_unify(parts))).timestamps


def _unify(parts: Iterable[_NumberedPart]) -> list[Ratings]:
    """Returns parts in the order of the rows, with the same item ids."""
    ordered = sorted(parts, key=lambda part: part[:2])
    return unify_items([ratings for _, _, ratings in ordered])


def _make_rule(
    statistics: Statistics, cuts: dict[str, float], request: Request
) -> SplitRule:
    return SplitRule(
        request.split,
        request.seed,
        cuts,
        request.options.min_user_ratings,
        choose_unit(statistics.rating_range),
    )


def _assign(
    element: tuple[int, Iterable[_NumberedPart]], rule: SplitRule
) -> Iterator[Any]:
    """Yields assigned ratings, and by tag the counts of items and drops."""
    bucket, parts = element
    unified = _unify(parts)
    assignment = assign(unified, rule)
    item_ids = unified[0].item_ids
    yield bucket, (item_ids, assignment.assigned)
    counts = assignment.item_counts
    for item_id, count, total in zip(
        item_ids.to_pylist(),
        counts.counts.tolist(),
        counts.sums.tolist(),
        strict=True,
    ):
        if count:
            yield TaggedOutput("items", (item_id, (count, total)))
    for dropped in assignment.dropped.items():
        yield TaggedOutput("dropped", dropped)


def _build_vocabulary(
    items: Iterable[tuple[str, tuple[int, int]]],
    rule: SplitRule,
    request: Request,
    known_items: KnownItems,
) -> Vocabulary:
    ordered = sorted(items, key=lambda item: item[0].encode())
    item_counts = ItemCounts(
        np.array([count for _, (count, _) in ordered], np.int64),
        np.array([total for _, (_, total) in ordered], np.int64),
    )
    item_ids = pa.array([item_id for item_id, _ in ordered], pa.string())
    with tempfile.TemporaryDirectory(prefix="data_prep-") as temp_dir:
        return build_requested_vocabulary(
            request.source,
            request.options,
            known_items,
            item_ids,
            item_counts,
            rule.unit,
            temp_dir,
        )


def _serialize(
    element: tuple[int, tuple[pa.StringArray, AssignedRatings]],
    vocabulary: list[str],
    work_dir: str,
) -> SerializedUsers:
    """Writes the records of a bucket; returns their counts."""
    bucket, (item_ids, assigned) = element
    indices = find_positions(item_ids, pa.array(vocabulary, pa.string()))
    serialized = serialize_users(assigned, indices, len(vocabulary))
    path = _bucket_path(work_dir, bucket)
    with tf.io.gfile.GFile(f"{path}.tmp", "wb") as file:
        file.write(serialized.records.tobytes())
    tf.io.gfile.rename(f"{path}.tmp", path, overwrite=True)
    return serialized.without_records()


def _add_counts(serialized: Iterable[SerializedUsers]) -> SerializedUsers:
    return functools.reduce(add_counts, serialized)


def _join_buckets(
    shard: int,
    serialized: SerializedUsers,
    buckets: Buckets,
    work_dir: str,
    output_dir: str,
) -> tuple[str, str]:
    """Joins the buckets of a shard; returns its name and SHA-256.

    The side input `serialized` makes it wait until all buckets are written.
    """
    del serialized
    name = shard_name(shard, buckets.num_shards)
    digest = hashlib.sha256()
    path = tf.io.gfile.join(output_dir, name)
    with tf.io.gfile.GFile(f"{path}.tmp", "wb") as target:
        first = shard * buckets.buckets_per_shard
        for bucket in range(first, first + buckets.buckets_per_shard):
            part = _bucket_path(work_dir, bucket)
            if not tf.io.gfile.exists(part):
                continue  # The bucket has no users.
            with tf.io.gfile.GFile(part, "rb") as source:
                while chunk := source.read(_CHUNK_BYTES):
                    target.write(chunk)
                    digest.update(chunk)
    tf.io.gfile.rename(f"{path}.tmp", path, overwrite=True)
    return name, digest.hexdigest()


def _bucket_path(work_dir: str, bucket: int) -> str:
    return str(tf.io.gfile.join(work_dir, f"bucket-{bucket:08d}"))


def _result_path(work_dir: str) -> str:
    return str(tf.io.gfile.join(work_dir, "result"))


def _write_result(_: None, path: str, **fields: Any) -> None:
    with tf.io.gfile.GFile(f"{path}.tmp", "wb") as file:
        file.write(pickle.dumps(Result(**fields)))
    tf.io.gfile.rename(f"{path}.tmp", path, overwrite=True)
