"""Finishes prepared data: checks the result, writes items and manifest."""

import dataclasses
import datetime
import os
from collections.abc import Mapping

import tensorflow as tf
from absl import logging

from data_prep.dataset.files import digest_file
from data_prep.dataset.items import FILE_NAME as ITEMS_FILE
from data_prep.dataset.items import write_items
from data_prep.dataset.manifest import Manifest, write_manifest
from data_prep.engine.assignment import DUPLICATE, MISSING_VALUE
from data_prep.engine.checks import check_subsets
from data_prep.engine.request import Request
from data_prep.engine.shards import UNKNOWN_USER, SerializedUsers
from data_prep.engine.vocabulary import Vocabulary
from data_prep.ratings import Statistics
from data_prep.rules.rejects import FILE_NAME as REJECTS_FILE
from data_prep.rules.rejects import Rejects
from data_prep.splits.base import Split


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What an engine has found and written.

    Args:
        statistics: the statistics of the valid rows.
        rejects: the invalid rows.
        cuts: the result of `split.find_cuts`.
        dropped: the number of ratings that belong to no subset, by reason.
        vocabulary: the items.
        serialized: the counts of all serialized users, without records.
        digests: SHA-256 of each shard, by its path in the directory.
    """

    statistics: Statistics
    rejects: Rejects
    cuts: dict[str, float]
    dropped: Mapping[str, int]
    vocabulary: Vocabulary
    serialized: SerializedUsers
    digests: dict[str, str]


def finish(
    request: Request, result: Result, output_dir: str, temp_dir: str
) -> Manifest:
    """Checks a result, and writes the items and, last, the manifest.

    Args:
        request: the request.
        result: the result of an engine.
        output_dir: the output directory.
        temp_dir: a local directory for temporary files.

    Raises:
        UserError: if a subset is empty.
    """
    split, serialized = request.split, result.serialized
    statistics = result.statistics
    dropped = count_dropped(statistics, result.dropped, serialized)
    check_subsets(split, serialized, dropped)
    if split.needs_test_ratings:
        _log_match(serialized)
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
    description = request.describe()
    if result.cuts:
        description["split"]["cuts"] = _format_cuts(result.cuts)
    lowest, highest = statistics.rating_range
    manifest = Manifest(
        **description,
        num_users=serialized.num_users,
        num_items=len(items.item_ids),
        num_ratings=serialized.num_ratings,
        rows_read=(
            statistics.num_ratings + statistics.num_missing + num_rejected
        ),
        rows_dropped=dropped,
        rows_rejected=dict(result.rejects.counts),
        rating_min=lowest,
        rating_max=highest,
        rating_mean=result.vocabulary.rating_mean,
        digests=digests,
        published_counts=_compare_counts(split, result),
        num_cold_ratings=serialized.num_cold_ratings,
    )
    write_manifest(manifest, output_dir)
    return manifest


def _log_match(serialized: SerializedUsers) -> None:
    """Logs how many of the published test ratings meet training ratings."""
    logging.info(
        "--test-ratings: %s ratings are of users and items with training"
        " ratings, %s of items without; %s held-out ratings are of users"
        " without, and left out.",
        f"{serialized.num_ratings['test']:,}",
        f"{serialized.num_cold_ratings['test']:,}",
        f"{serialized.dropped.get(UNKNOWN_USER, 0):,}",
    )


def count_dropped(
    statistics: Statistics,
    dropped: Mapping[str, int],
    serialized: SerializedUsers,
) -> dict[str, int]:
    """Returns the number of valid rows left out at any stage, by reason."""
    counts = {DUPLICATE: 0, **dropped}
    if statistics.num_missing:
        counts[MISSING_VALUE] = statistics.num_missing
    for reason, count in serialized.dropped.items():
        counts[reason] = counts.get(reason, 0) + count
    return counts


def _format_cuts(cuts: dict[str, float]) -> dict[str, str]:
    return {
        subset: datetime.datetime.fromtimestamp(cut, datetime.UTC).isoformat()
        for subset, cut in cuts.items()
    }


def _compare_counts(split: Split, result: Result) -> dict[str, dict[str, int]]:
    """Compares published counts with the actual ones; warns of differences."""
    if not split.published_counts:
        return {}
    serialized = result.serialized
    num_ratings = serialized.num_ratings
    actual = {
        "train_ratings": num_ratings["train"],
        "train_users": serialized.num_users,
        "train_items": int((result.vocabulary.items.counts > 0).sum()),
        "held_out_ratings": num_ratings["validation"] + num_ratings["test"],
        "held_out_users": serialized.held_out_users,
        "held_out_items": int(serialized.held_out_items.sum()),
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
