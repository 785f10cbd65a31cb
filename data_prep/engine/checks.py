"""Checks that the rows of a source can be prepared as requested."""

import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.engine.request import Request
from data_prep.engine.suspicions import suspect_values
from data_prep.ratings import Statistics
from data_prep.sources.rejects import FILE_NAME as REJECTS_FILE
from data_prep.sources.rejects import Rejects, write_rejects


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
    """Checks all rows of a source, and writes `rejected.csv` if needed.

    Args:
        request: the request.
        statistics: the statistics of the valid rows.
        rejects: the invalid rows.
        output_dir: the output directory.

    Raises:
        UserError: if too many rows are invalid, no row is valid, or the split
            needs timestamps that are missing.
    """
    num_rejected = rejects.counts.total()
    if num_rejected:
        write_rejects(rejects, output_dir)
    num_rows = statistics.num_ratings + statistics.num_missing + num_rejected
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
    if statistics.num_ratings == 0:
        raise UserError(_explain_no_ratings(statistics))
    for suspicion in suspect_values(statistics):
        logging.warning("%s", suspicion)
    num_missing = statistics.num_ratings - statistics.num_timestamps
    if request.split.needs_timestamps and num_missing:
        raise UserError(
            f"split {request.split.name} goes by time, and {num_missing:,} of"
            f" {statistics.num_ratings:,} ratings have no timestamp. Name its"
            " column with --timestamp-column, or use --split random."
        )


def _explain_no_ratings(statistics: Statistics) -> str:
    if statistics.num_missing:
        return (
            f"all {statistics.num_missing:,} ratings are values that"
            " --missing-value names."
        )
    return "the source holds no ratings."
