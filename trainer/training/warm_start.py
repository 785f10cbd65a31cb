"""Initializes a new job from the weights of an earlier one with fewer items.

Resuming a job is `trainer.job.checkpoints`.
"""

import numpy as np

from data_prep.dataset.errors import UserError
from data_prep.dataset.items import Items
from trainer.job.paths import JobPaths
from trainer.job.record import load_job
from trainer.model.rating_model import RatingModel


def warm_start(model: RatingModel, job_dir: str, items: Items) -> None:
    """Copies the best weights of an earlier job into a model.

    The first and the last layer of the model have more items than those of
    the job: the weights of new items keep their initial values. The statistics
    of the centering are left alone, since they come from the data.

    Args:
        model: the new model.
        job_dir: the directory of the earlier job.
        items: the items of the new model.

    Raises:
        UserError: the first items of the new model are not those of the
            earlier job, or the networks differ in more than the number of
            items.
    """
    old = load_job(JobPaths.resolve(job_dir, environ={}))
    num_old_items = len(old.items.item_ids)
    if items.item_ids[:num_old_items] != old.items.item_ids:
        raise UserError(
            f"--warm-start-from {job_dir}: the data number their items"
            " otherwise. Prepare them with `data_prep.task --vocabulary-from`"
            " the data of that job."
        )
    old_weights = [v.numpy() for v in old.model.trainable_variables]
    shapes = [
        tuple(
            len(items.item_ids) if size == num_old_items else size
            for size in weight.shape
        )
        for weight in old_weights
    ]
    variables = model.trainable_variables
    if shapes != [tuple(variable.shape) for variable in variables]:
        raise UserError(
            f"--warm-start-from {job_dir}: that job has other layers. Give"
            " its --hidden_units, --tie_weights and --centering."
        )
    for variable, weight in zip(variables, old_weights, strict=True):
        grown = np.array(variable.numpy())
        grown[tuple(slice(size) for size in weight.shape)] = weight
        variable.assign(grown)
