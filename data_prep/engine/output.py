"""The directory of prepared data: asked for, checked, finished.

What is here serves every engine, so that all leave the same directory.
"""

import contextlib
import dataclasses
import datetime
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pyarrow as pa
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import digest_file
from data_prep.dataset.items import FILE_NAME as ITEMS_FILE
from data_prep.dataset.items import read_items, write_items
from data_prep.dataset.manifest import (
    Manifest,
    is_prepared,
    read_manifest,
    write_manifest,
)
from data_prep.dataset.schema import SUBSETS
from data_prep.engine.assignment import DUPLICATE, ItemCounts
from data_prep.engine.encoding import Encoded
from data_prep.engine.vocabulary import Vocabulary, build_vocabulary
from data_prep.options import Options
from data_prep.ratings import Statistics
from data_prep.sources.catalog import Source
from data_prep.sources.rejects import FILE_NAME as REJECTS_FILE
from data_prep.sources.rejects import Rejects, write_rejects
from data_prep.sources.titles import read_titles
from data_prep.splits.catalog import Split

# What a full disk ends in, and what too little memory.
_NO_ROOM = (OSError, duckdb.IOException, duckdb.TransactionException)
_NO_MEMORY = (MemoryError, duckdb.OutOfMemoryException)


@dataclasses.dataclass(frozen=True)
class Request:
    """All that decides what a directory of prepared data holds.

    Args:
        source: where the ratings come from.
        split: how they are held out.
        seed: what decides where the split leaves it to chance.
        num_shards: the number of files that the users are spread over.
        options: what else was asked for.
    """

    source: Source
    split: Split
    seed: int
    num_shards: int
    options: Options

    def __post_init__(self) -> None:
        if self.num_shards < 1:
            raise UserError(
                f"--num-shards must be at least 1. Received: {self.num_shards}"
            )

    def describe(self) -> dict[str, Any]:
        """Returns the request as the manifest keeps it."""
        return {
            "source": self.source.describe(),
            "split": self.split.describe(),
            "seed": self.seed,
            "num_shards": self.num_shards,
            "options": self.options.describe(),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What an engine found out and wrote.

    Args:
        statistics: of the rows that can be used.
        rejects: the rows that cannot.
        cuts: what the split found in the data.
        dropped: ratings that belong to no group, by reason.
        vocabulary: the items.
        encoded: the sum of all that was encoded; its records are not used.
        digests: SHA-256 of each record file, by its path in the directory.
    """

    statistics: Statistics
    rejects: Rejects
    cuts: dict[str, float]
    dropped: Mapping[str, int]
    vocabulary: Vocabulary
    encoded: Encoded
    digests: dict[str, str]


def find_prepared(request: Request, output_dir: str) -> Manifest | None:
    """Returns the manifest of what was asked for, if it is there already.

    Raises:
        UserError: when the directory holds other prepared data.
    """
    if not is_prepared(output_dir):
        return None
    manifest = read_manifest(output_dir)
    wanted = request.describe()
    found = {name: getattr(manifest, name) for name in wanted}
    found["split"] = {k: v for k, v in manifest.split.items() if k != "cuts"}
    for name, value in wanted.items():
        if found[name] != value:
            raise UserError(
                f"{output_dir} holds other prepared data: its {name} is"
                f" {found[name]}, not {value}. Choose another directory, or"
                " remove this one."
            )
    logging.info("%s is prepared already.", output_dir)
    return manifest


def remove_leftovers(output_dir: str) -> None:
    """Makes the directory, and removes what an interrupted run left."""
    users_dir = tf.io.gfile.join(output_dir, "users")
    try:
        tf.io.gfile.makedirs(users_dir)
    except tf.errors.OpError as error:
        raise UserError(
            f"cannot create {users_dir}: {error.message}"
        ) from error
    for name in tf.io.gfile.listdir(users_dir):
        if re.fullmatch(r"part-\d{5,}-of-\d{5,}\.tfrecord", name):
            tf.io.gfile.remove(tf.io.gfile.join(users_dir, name))
    rejects_path = tf.io.gfile.join(output_dir, REJECTS_FILE)
    if tf.io.gfile.exists(rejects_path):
        tf.io.gfile.remove(rejects_path)


@contextlib.contextmanager
def working_directory(output_dir: str) -> Iterator[str]:
    """Gives a local directory, and says what there was not enough of.

    Args:
        output_dir: the directory of the result.

    Raises:
        UserError: when a file cannot be written there or in `output_dir`, or
            memory runs out.
    """
    with tempfile.TemporaryDirectory(prefix="data_prep-") as temp_dir:
        try:
            yield temp_dir
        except _NO_ROOM as error:
            if isinstance(error, OSError) and error.filename:
                raise  # It names its own place.
            raise UserError(
                f"could not work in {temp_dir} (TMPDIR names another place):"
                f" {str(error).splitlines()[0]}"
            ) from error
        except _NO_MEMORY as error:
            raise UserError(
                f"memory ran out ({str(error).partition(chr(10))[0]}). Raise"
                " --memory-limit where the machine has more, and lower it"
                " where it has not."
            ) from error
        except tf.errors.OpError as error:
            raise UserError(
                f"cannot write to {output_dir}: {error.message}"
            ) from error


def check_rows_so_far(
    request: Request,
    num_good_rows: int,
    expected_rows: int,
    rejects: Rejects,
    output_dir: str,
) -> None:
    """Raises when the rows to come cannot make up for those rejected already.

    Args:
        request: what was asked for.
        num_good_rows: rows read that can be used.
        expected_rows: about how many there are. As it is estimated, it may
            be twice as many.
        rejects: the rows read that cannot be used.
        output_dir: the directory of the result.

    Raises:
        UserError: for the first bad row.
    """
    num_rows = num_good_rows + rejects.counts.total()
    max_bad_rows = request.options.max_bad_rows
    try:
        rejects.check(num_rows, max_bad_rows, 2 * expected_rows)
    except UserError:
        write_rejects(rejects, output_dir)
        raise


def check_rows(
    request: Request,
    statistics: Statistics,
    rejects: Rejects,
    output_dir: str,
) -> None:
    """Raises when the rows of the source cannot be prepared.

    Writes `rejected.csv`, if there are rows that cannot be used.
    """
    num_rejected = rejects.counts.total()
    if num_rejected:
        write_rejects(rejects, output_dir)
    num_rows = statistics.num_rows + num_rejected
    rejects.check(num_rows, request.options.max_bad_rows)
    if num_rejected:
        logging.warning(
            "%d of %d rows cannot be used: %s. The first of each kind are in"
            " %s.",
            num_rejected,
            num_rows,
            dict(sorted(rejects.counts.items())),
            tf.io.gfile.join(output_dir, REJECTS_FILE),
        )
    if statistics.num_rows == 0:
        raise UserError("the source holds no ratings.")
    missing = statistics.num_rows - statistics.num_timestamps
    if request.split.needs_timestamps and missing:
        raise UserError(
            f"split {request.split.name} goes by time, and {missing:,} of"
            f" {statistics.num_rows:,} ratings have no timestamp. Name its"
            " column with --timestamp-column, or use --split random."
        )


def make_vocabulary(
    request: Request,
    item_ids: pa.StringArray,
    item_counts: ItemCounts,
    unit: float,
    temp_dir: str,
) -> Vocabulary:
    """Builds the vocabulary that was asked for, titles included.

    Args:
        request: what was asked for.
        item_ids: the ids of the source's items, in order.
        item_counts: their training ratings.
        unit: what the sums of ratings are counted in.
        temp_dir: a local directory for files on the way.
    """
    options = request.options
    old_ids: list[str] = []
    titles: dict[str, str] = {}
    if options.vocabulary_from:
        old = read_items(options.vocabulary_from)
        old_ids = old.item_ids
        titles |= {
            item_id: title
            for item_id, title in zip(old_ids, old.titles, strict=True)
            if title is not None
        }
    vocabulary = build_vocabulary(
        item_ids,
        item_counts,
        unit,
        min_ratings=options.min_item_ratings,
        old_ids=old_ids,
    )
    ids = vocabulary.items.item_ids
    titles |= (
        read_titles(options.titles, temp_dir)
        if options.titles
        else request.source.read_titles(ids, temp_dir)
    )
    items = dataclasses.replace(
        vocabulary.items, titles=[titles.get(item_id) for item_id in ids]
    )
    return dataclasses.replace(vocabulary, items=items)


def finish(
    request: Request, result: Result, output_dir: str, temp_dir: str
) -> Manifest:
    """Checks what was written, and writes items and, last, the manifest.

    Raises:
        UserError: when a part of the split is empty.
    """
    split, encoded = request.split, result.encoded
    dropped = {DUPLICATE: 0, **result.dropped}
    for reason, count in encoded.dropped.items():
        dropped[reason] = dropped.get(reason, 0) + count
    for group in SUBSETS:
        if encoded.num_ratings[group] == 0:
            raise UserError(
                f"split {split.name} leaves no {group} ratings of known users"
                f" and items: {encoded.num_ratings}, dropped: {dropped}."
                f" Change {split.advice}."
            )
    items = result.vocabulary.items
    local_items = os.path.join(temp_dir, ITEMS_FILE)
    write_items(items, local_items)
    items_path = tf.io.gfile.join(output_dir, ITEMS_FILE)
    tf.io.gfile.copy(local_items, items_path, overwrite=True)
    digests = {**result.digests, ITEMS_FILE: digest_file(local_items)}
    num_rejected = result.rejects.counts.total()
    if num_rejected:
        rejects_path = tf.io.gfile.join(output_dir, REJECTS_FILE)
        digests[REJECTS_FILE] = digest_file(rejects_path)
    described = request.describe()
    if result.cuts:
        described["split"]["cuts"] = _describe_cuts(result.cuts)
    lowest, highest = result.statistics.ratings
    manifest = Manifest(
        **described,
        num_users=encoded.num_users,
        num_items=len(items.item_ids),
        num_ratings=encoded.num_ratings,
        rows_read=result.statistics.num_rows + num_rejected,
        rows_dropped=dropped,
        rows_rejected=dict(result.rejects.counts),
        rating_min=lowest,
        rating_max=highest,
        rating_mean=result.vocabulary.rating_mean,
        digests=digests,
        published_counts=_compare_counts(split, result),
    )
    write_manifest(manifest, output_dir)
    return manifest


def _describe_cuts(cuts: dict[str, float]) -> dict[str, str]:
    moments = {
        group: datetime.datetime.fromtimestamp(cut, datetime.UTC)
        for group, cut in cuts.items()
    }
    return {group: moment.isoformat() for group, moment in moments.items()}


def _compare_counts(split: Split, result: Result) -> dict[str, dict[str, int]]:
    """Puts published counts beside the actual ones, and warns of others."""
    if not split.published_counts:
        return {}
    encoded = result.encoded
    ratings = encoded.num_ratings
    actual = {
        "train_ratings": ratings["train"],
        "train_users": encoded.num_users,
        "train_items": int((result.vocabulary.items.counts > 0).sum()),
        "held_out_ratings": ratings["validation"] + ratings["test"],
        "held_out_users": encoded.held_out_users,
        "held_out_items": int(encoded.held_out_items.sum()),
    }
    for name, expected in split.published_counts.items():
        if actual[name] != expected:
            logging.warning(
                "%s: %s %s, published are %s.",
                split.name,
                f"{actual[name]:,}",
                name.replace("_", " "),
                f"{expected:,}",
            )
    return {
        name: {"expected": expected, "actual": actual[name]}
        for name, expected in split.published_counts.items()
    }
