"""Checks that the rows of a source can be prepared as requested."""

from collections.abc import Mapping

import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.engine.assignment import USER_BELOW_MINIMUM
from data_prep.engine.request import Request
from data_prep.engine.shards import ITEM_BELOW_MINIMUM, SerializedUsers
from data_prep.engine.suspicions import suspect_values
from data_prep.options import Options
from data_prep.ratings import Statistics
from data_prep.rules.rejects import FILE_NAME as REJECTS_FILE
from data_prep.rules.rejects import Rejects, write_rejects
from data_prep.splits.base import Split

# Reasons to drop training ratings, and the flags that set them.
_MINIMA = {
    USER_BELOW_MINIMUM: "--min-user-ratings",
    ITEM_BELOW_MINIMUM: "--min-item-ratings",
}


def check_rows_so_far(
    request: Request,
    num_valid_rows: int,
    expected_rows: int,
    rejects: Rejects,
    output_dir: str,
) -> None:
    """Checks that there are not too many invalid rows already.

    Args:
        request: the request.
        num_valid_rows: the number of valid rows read.
        expected_rows: the estimated number of all rows; there may be twice as
            many.
        rejects: the invalid rows read.
        output_dir: the output directory, for `rejected.csv`.

    Raises:
        UserError: about the first invalid row, if the rows to come cannot
            make up for the invalid ones.
    """
    num_rows = num_valid_rows + rejects.counts.total()
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
    """Checks all rows of a source; writes `rejected.csv` and warns if needed.

    Args:
        request: the request.
        statistics: the statistics of the valid rows.
        rejects: the invalid rows.
        output_dir: the output directory.

    Raises:
        UserError: as `check_usable` does.
    """
    num_rejected = rejects.counts.total()
    if num_rejected:
        write_rejects(rejects, output_dir)
    check_usable(request.split, request.options, statistics, rejects)
    if num_rejected:
        logging.warning(
            "%d of %d rows cannot be used: %s. The first of each kind are in"
            " %s.",
            num_rejected,
            statistics.num_ratings + statistics.num_missing + num_rejected,
            dict(sorted(rejects.counts.items())),
            tf.io.gfile.join(output_dir, REJECTS_FILE),
        )
    for suspicion in suspect_values(statistics):
        logging.warning("%s", suspicion)


def check_usable(
    split: Split | None,
    options: Options,
    statistics: Statistics,
    rejects: Rejects,
    where: str = f"in {REJECTS_FILE}",
) -> None:
    """Checks that the rows of a source are good enough.

    Args:
        split: the split, if it is known.
        options: the options.
        statistics: the statistics of the valid rows.
        rejects: the invalid rows.
        where: where the user finds the first of these.

    Raises:
        UserError: if too many rows are invalid, no row is a rating, or the
            split needs timestamps that are missing.
    """
    num_rows = statistics.num_ratings + statistics.num_missing
    num_rows += rejects.counts.total()
    rejects.check(num_rows, options.max_bad_rows, where=where)
    if statistics.num_missing and not statistics.num_ratings:
        raise UserError(
            f"all {statistics.num_missing:,} ratings are values that"
            " --missing-value names."
        )
    if not statistics.num_ratings:
        raise UserError("the source holds no ratings.")
    num_without = statistics.num_ratings - statistics.num_timestamps
    if split is not None and split.needs_timestamps and num_without:
        raise UserError(
            f"split {split.name} goes by time, and {num_without:,} of"
            f" {statistics.num_ratings:,} ratings have no timestamp. Name its"
            " column with --timestamp-column, or use --split random."
        )


def check_subsets(
    split: Split, serialized: SerializedUsers, dropped: Mapping[str, int]
) -> None:
    """Checks that each subset has ratings of items with training ratings.

    Args:
        split: the split.
        serialized: the counts of all serialized users.
        dropped: the number of other ratings, by reason.

    Raises:
        UserError: if a subset is empty.
    """
    num_ratings = serialized.num_ratings
    for subset in split.filled_subsets:
        if num_ratings[subset]:
            continue
        changes = [
            flag for reason, flag in _MINIMA.items() if dropped.get(reason)
        ]
        changes.append(split.advice)
        others = {reason: n for reason, n in dropped.items() if n}
        num_cold = serialized.num_cold_ratings.get(subset, 0)
        held_out = ""
        if num_cold:
            held_out = (
                f" The {num_cold:,} that it held out are all of items without"
                " training ratings."
            )
            changes.append("the data (add ratings of the same items)")
        raise UserError(
            f"split {split.name} leaves no {subset} ratings of known users"
            f" and items.{held_out} Ratings: {_list_counts(num_ratings)};"
            f" dropped: {_list_counts(others)}. Change {' or '.join(changes)}."
        )


def _list_counts(counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return listed or "none"
