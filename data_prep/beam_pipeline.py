"""Prepares ratings on an Apache Beam runner.

python -m data_prep.beam_pipeline --source files \
    --ratings 'gs://BUCKET/ratings/*.csv.gz' --split global-time \
    --output-dir gs://BUCKET/prepared --num-shards 1024 \
    --runner DataflowRunner --project PROJECT --region REGION \
    --temp_location gs://BUCKET/tmp --setup_file ./setup.py

The flags are those of `data_prep.task` and of the runner. The same flags give
the same files: what is done with the ratings of a bucket of users is done by
the functions of the way over one machine. Between machines go buckets of
ratings, counts of items, and, to everyone, the vocabulary.
"""

import dataclasses
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
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput

from data_prep import command_line, task
from data_prep.dataset.errors import UserError
from data_prep.dataset.manifest import Manifest
from data_prep.dataset.schema import shard_name
from data_prep.engine.assignment import (
    Assigned,
    ItemCounts,
    Rule,
    assign,
    choose_unit,
)
from data_prep.engine.buckets import Buckets, choose_buckets
from data_prep.engine.encoding import Encoded, add_up, encode
from data_prep.engine.output import (
    Request,
    Result,
    check_rows,
    find_prepared,
    finish,
    make_vocabulary,
    remove_leftovers,
    working_directory,
)
from data_prep.engine.spill import partition
from data_prep.engine.vocabulary import Vocabulary
from data_prep.ratings import (
    Rows,
    Statistics,
    combine,
    deduplicate,
    describe_rows,
    find_places,
    from_table,
    merge,
    share_items,
)
from data_prep.sources.catalog import Reading, Source
from data_prep.sources.rejects import Rejects
from data_prep.splits.quantiles import (
    NUM_ROUNDS,
    Wanted,
    count_digits,
    narrow,
    to_number,
)

# Ratings that a worker holds at once, about.
_ROWS_PER_BUCKET = 1_000_000
_BYTES_AT_A_TIME = 1 << 24
# More files than one piece of a source has.
_FILES_PER_PIECE = 1 << 20


def prepare(
    request: Request, output_dir: str, options: PipelineOptions
) -> Manifest:
    """Turns ratings into prepared data, as `data_prep.prepare.prepare` does.

    Args:
        request: what decides what the directory holds.
        output_dir: the directory to fill; all workers must reach it.
        options: those of the runner.
    """
    manifest = find_prepared(request, output_dir)
    if manifest is not None:
        return manifest
    remove_leftovers(output_dir)
    work_dir = tf.io.gfile.join(output_dir, "users", "buckets")
    tf.io.gfile.makedirs(work_dir)
    with working_directory(output_dir) as temp_dir:
        with beam.Pipeline(options=options) as pipeline:
            _build(pipeline, request, output_dir, work_dir)
        path = _find_result(work_dir)
        with tf.io.gfile.GFile(path, "rb") as file:
            result = pickle.loads(file.read())
        check_rows(request, result.statistics, result.rejects, output_dir)
        manifest = finish(request, result, output_dir, temp_dir)
        tf.io.gfile.rmtree(work_dir)
        return manifest


def _build(
    pipeline: beam.Pipeline, request: Request, output_dir: str, work_dir: str
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
        >> beam.ParDo(_Read(buckets, options.rating_scale)).with_outputs(
            "statistics", "rejects", main="pieces"
        )
    )
    statistics = read.statistics | "Statistics" >> beam.CombineGlobally(
        lambda found: combine(list(found))
    )
    rejects = (
        read.rejects
        | "All rejects" >> beam.combiners.ToList()
        | "Rejects" >> beam.Map(_join_rejects)
    )
    pieces = read.pieces | "Buckets" >> beam.GroupByKey()
    cuts = _find_cuts(pipeline, request, pieces)
    rule = statistics | "Rule" >> beam.Map(
        _make_rule, AsSingleton(cuts), request=request
    )
    assigned = pieces | "Assign" >> beam.FlatMap(
        _assign, AsSingleton(rule)
    ).with_outputs("items", "dropped", main="assigned")
    dropped = assigned.dropped | "Dropped" >> beam.CombinePerKey(sum)
    vocabulary = (
        assigned.items
        | "Add up items"
        >> beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, sum))
        | "All items" >> beam.combiners.ToList()
        | "Vocabulary"
        >> beam.Map(_make_vocabulary, AsSingleton(rule), request=request)
    )
    written = assigned.assigned | "Encode" >> beam.Map(
        _encode,
        AsSingleton(
            vocabulary | "Ids" >> beam.Map(lambda found: found.items.item_ids)
        ),
        work_dir=work_dir,
    )
    encoded = (
        written
        | "Encoded" >> beam.Values()
        | "Add up" >> beam.CombineGlobally(_add_up).without_defaults()
    )
    digests = (
        pipeline
        | "Shards" >> beam.Create(range(buckets.num_shards))
        | "Spread shards" >> beam.Reshuffle()
        | "Write"
        >> beam.Map(
            _join_buckets,
            AsSingleton(encoded),
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
            _find_result(work_dir),
            statistics=AsSingleton(statistics),
            rejects=AsSingleton(rejects),
            cuts=AsSingleton(cuts),
            dropped=beam.pvalue.AsDict(dropped),
            vocabulary=AsSingleton(vocabulary),
            encoded=AsSingleton(encoded),
            digests=beam.pvalue.AsDict(digests),
        )
    )


class _Read(beam.DoFn):
    """Reads a part of a source, and cuts its rows by bucket."""

    def __init__(self, buckets: Buckets, scale: Any) -> None:
        self._buckets = buckets
        self._scale = scale

    def process(self, element: tuple[int, Source]) -> Iterator[Any]:
        """Yields pieces by bucket, statistics and rejects."""
        number, source = element
        rejects = Rejects()
        with tempfile.TemporaryDirectory(prefix="data_prep-") as temp_dir:
            reading = Reading(temp_dir, rejects, self._scale)
            for part in source.read(reading):
                rows = from_table(part())
                yield TaggedOutput("statistics", describe_rows(rows))
                content = partition(rows, self._buckets)
                for bucket in range(self._buckets.num_buckets):
                    if (
                        content.user_edges[bucket]
                        < content.user_edges[bucket + 1]
                    ):
                        yield bucket, content.cut(bucket)
        yield TaggedOutput("rejects", (number, rejects))


def _join_rejects(found: Iterable[tuple[int, Rejects]]) -> Rejects:
    joined = Rejects()
    for number, rejects in found:
        joined.add(rejects, number * _FILES_PER_PIECE)
    return joined


def _find_cuts(
    pipeline: beam.Pipeline, request: Request, pieces: PCollection
) -> PCollection:
    """Returns the one dictionary of cuts."""
    shares: list[Any] = []

    def note(wanted: Sequence[Any]) -> list[float]:
        shares.extend(wanted)
        return [0.0] * len(wanted)

    cuts = request.split.find_cuts(note)
    if not shares:
        return pipeline | "Cuts" >> beam.Create([cuts])
    timestamps = pieces | "Timestamps" >> beam.Map(_get_timestamps)
    wanted = pipeline | "Shares" >> beam.Create([[Wanted(s) for s in shares]])
    for number in range(NUM_ROUNDS):
        counts = (
            timestamps
            | f"Count {number}" >> beam.Map(count_digits, AsSingleton(wanted))
            | f"Sum {number}" >> beam.CombineGlobally(_add).without_defaults()
        )
        wanted = wanted | f"Narrow {number}" >> beam.Map(
            narrow, AsSingleton(counts)
        )
    return wanted | "Cuts" >> beam.Map(
        lambda found: request.split.find_cuts(
            lambda _: [to_number(number) for number in found]
        )
    )


def _add(arrays: Iterable[Any]) -> Any:
    return functools.reduce(np.add, arrays)


def _get_timestamps(element: tuple[int, Iterable[Rows]]) -> Any:
    _, pieces = element
    return deduplicate(merge(share_items(list(pieces)))).timestamps


def _make_rule(
    statistics: Statistics, cuts: dict[str, float], request: Request
) -> Rule:
    return Rule(
        request.split,
        request.seed,
        cuts,
        request.options.min_user_ratings,
        choose_unit(statistics.ratings),
    )


def _assign(element: tuple[int, Iterable[Rows]], rule: Rule) -> Iterator[Any]:
    """Yields what is assigned, and by tag what trains and what is dropped."""
    bucket, pieces = element
    shared = share_items(list(pieces))
    assignment = assign(shared, rule)
    item_ids = shared[0].item_ids
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


def _make_vocabulary(
    found: Iterable[tuple[str, tuple[int, int]]], rule: Rule, request: Request
) -> Vocabulary:
    rows = sorted(found, key=lambda row: row[0].encode())
    item_counts = ItemCounts(
        np.array([count for _, (count, _) in rows], np.int64),
        np.array([total for _, (_, total) in rows], np.int64),
    )
    item_ids = pa.array([item_id for item_id, _ in rows], pa.string())
    with tempfile.TemporaryDirectory(prefix="data_prep-") as temp_dir:
        return make_vocabulary(
            request, item_ids, item_counts, rule.unit, temp_dir
        )


def _encode(
    element: tuple[int, tuple[pa.StringArray, Assigned]],
    vocabulary: list[str],
    work_dir: str,
) -> tuple[int, Encoded]:
    """Writes the records of a bucket, and returns what is in them."""
    bucket, (item_ids, assigned) = element
    indices = find_places(item_ids, pa.array(vocabulary, pa.string()))
    encoded = encode(assigned, indices, len(vocabulary))
    path = _find_bucket(work_dir, bucket)
    with tf.io.gfile.GFile(f"{path}.tmp", "wb") as file:
        file.write(encoded.records.tobytes())
    tf.io.gfile.rename(f"{path}.tmp", path, overwrite=True)
    return bucket, _without_records(encoded)


def _without_records(encoded: Encoded) -> Encoded:
    return dataclasses.replace(encoded, records=np.empty(0, np.uint8))


def _add_up(encoded: Iterable[Encoded]) -> Encoded:
    return functools.reduce(add_up, encoded)


def _join_buckets(
    shard: int,
    encoded: Encoded,
    buckets: Buckets,
    work_dir: str,
    output_dir: str,
) -> tuple[str, str]:
    """Joins the buckets of a shard; returns its name and SHA-256.

    That something is `encoded` says that all buckets are written.
    """
    del encoded
    name = shard_name(shard, buckets.num_shards)
    digest = hashlib.sha256()
    path = tf.io.gfile.join(output_dir, name)
    with tf.io.gfile.GFile(f"{path}.tmp", "wb") as target:
        first = shard * buckets.buckets_per_shard
        for bucket in range(first, first + buckets.buckets_per_shard):
            part = _find_bucket(work_dir, bucket)
            if not tf.io.gfile.exists(part):
                continue  # Nobody belongs to it.
            with tf.io.gfile.GFile(part, "rb") as source:
                while block := source.read(_BYTES_AT_A_TIME):
                    target.write(block)
                    digest.update(block)
    tf.io.gfile.rename(f"{path}.tmp", path, overwrite=True)
    return name, digest.hexdigest()


def _find_bucket(work_dir: str, bucket: int) -> str:
    return str(tf.io.gfile.join(work_dir, f"bucket-{bucket:08d}"))


def _find_result(work_dir: str) -> str:
    return str(tf.io.gfile.join(work_dir, "result"))


def _write_result(_: None, path: str, **fields: Any) -> None:
    with tf.io.gfile.GFile(f"{path}.tmp", "wb") as file:
        file.write(pickle.dumps(Result(**fields)))
    tf.io.gfile.rename(f"{path}.tmp", path, overwrite=True)


def main(runner_arguments: list[str]) -> None:
    """Prepares the data that the flags name, and prints what it holds."""
    source, split, options = task.read_flags()
    if split is None or task.DRY_RUN.value:
        raise UserError("--dry-run is for python -m data_prep.task.")
    request = Request(
        source, split, task.SEED.value, task.NUM_SHARDS.value, options
    )
    manifest = prepare(
        request, task.OUTPUT_DIR.value, _read_options(runner_arguments)
    )
    task.print_manifest(manifest)


def _read_options(arguments: list[str]) -> PipelineOptions:
    """Returns the options of the runner, all of which Beam must know."""
    options = PipelineOptions(arguments)
    given = options.get_all_options(retain_unknown_options=True)
    unknown = given.keys() - options.get_all_options().keys()
    if unknown:
        raise UserError(
            f"unknown flag --{min(unknown)}: neither this command nor Beam"
            " has it."
        )
    return options


if __name__ == "__main__":
    remaining: list[str] = []
    command_line.run(lambda: main(remaining), rest=remaining)
