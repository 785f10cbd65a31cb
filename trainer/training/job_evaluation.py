"""Measures a trained job on other data than it was trained on."""

from typing import Any

import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.integrity import check_files
from data_prep.dataset.items import Items
from trainer.evaluation.evaluator import Evaluator
from trainer.input.job_data import JobData
from trainer.job.checkpoints import best_epoch
from trainer.job.metrics import answer_with_baselines
from trainer.job.paths import JobPaths
from trainer.job.record import TrainedJob, load_job
from trainer.training.results import measure_held_out

# Items that a message names.
_NUM_NAMED = 3


def evaluate_job(
    paths: JobPaths, data_dir: str, batch_size: int | None = None
) -> dict[str, Any]:
    """Measures the best weights of a job on held-out ratings.

    The items of the data are those of the job by their ids, however they are
    numbered. Ratings of items that the job does not know are ignored in the
    users' histories; among those held out, they count as ratings of items
    without training ratings. The baselines know what the job was trained on.

    Args:
        paths: the paths of the job.
        data_dir: prepared data.
        batch_size: users per batch; `None` takes that of the job.

    Returns:
        The content of `metrics.json`, as `train.train_and_evaluate` says.

    Raises:
        UserError: there is no trained job, a file of the data is damaged, the
            job knows none of their items, or their ratings are off its scale.
    """
    job = load_job(paths)
    check_files(data_dir)
    data = JobData.read(data_dir, batch_size or job.config.batch_size)
    _check_scale(job, data, data_dir)
    if data.items.item_ids != job.items.item_ids:
        _check_items(job.items, data.items, data_dir)
    # The statistics too are those that the job was trained with.
    data = data.for_items(job.items)
    metrics = measure_held_out(
        answer_with_baselines(job.model, job.items, job.uncertainty),
        Evaluator(job.model, tf.distribute.get_strategy()),
        data,
    )
    return {"best_epoch": best_epoch(paths), **metrics}


def _check_scale(job: TrainedJob, data: JobData, data_dir: str) -> None:
    low, high = job.data.rating_min, job.data.rating_max
    lowest, highest = data.manifest.rating_min, data.manifest.rating_max
    if not low <= lowest <= highest <= high:
        raise UserError(
            f"the ratings of {data_dir} go from {lowest:g} to {highest:g}, and"
            f" the job was trained on a scale from {low:g} to {high:g}."
            " Prepare ratings of that scale: --rating-scale leaves others out."
        )


def _check_items(known: Items, items: Items, data_dir: str) -> None:
    """Says how many items the job knows; refuses data without any."""
    known_ids = set(known.item_ids)
    unknown = [each for each in items.item_ids if each not in known_ids]
    named = ", ".join(map(repr, unknown[:_NUM_NAMED]))
    if len(unknown) == len(items.item_ids):
        raise UserError(
            f"the job knows none of the {len(unknown):,} items of {data_dir},"
            f" such as {named}. Prepare ratings of the items that it was"
            " trained on."
        )
    logging.info(
        "The job knows %s of the %s items of the data.",
        f"{len(items.item_ids) - len(unknown):,}",
        f"{len(items.item_ids):,}",
    )
    if unknown:
        logging.warning(
            "The job does not know %s of the %s items, such as %s. Their"
            " held-out ratings count as those of items without training"
            " ratings.",
            f"{len(unknown):,}",
            f"{len(items.item_ids):,}",
            named,
        )
