"""Fits the teachers of a job once, and keeps them with its checkpoints."""

import functools
import os
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import read_json, write_json
from data_prep.dataset.items import Items
from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.records import list_shards
from trainer.config import Config
from trainer.input_pipeline import evaluation_batches
from trainer.job_paths import JobPaths
from trainer.teachers import bayesian_factorization, ease
from trainer.teachers.ridge_encoders import RidgeEncoders
from trainer.teachers.training_ratings import read_training_ratings

#: Name of a teacher as an argument of `TaughtAutoEncoder` -> its file.
_FILES = {
    "rating_teacher": "rating_teacher.keras",
    "interest_teacher": "interest_teacher.keras",
}


def fit_teachers(
    config: Config,
    paths: JobPaths,
    data_dir: str,
    items: Items,
) -> dict[str, Any]:
    """Fits the teachers of a job, or loads what an earlier run fitted.

    A fit that was stopped goes on from its checkpoint, to the same teachers.
    They learn from training ratings; validation ratings choose how much the
    rating teacher leans on the biases.

    Args:
        config: the settings of the job.
        paths: its paths.
        data_dir: the prepared data.
        items: its items, with the statistics of their training ratings.

    Returns:
        `rating_teacher` and `interest_teacher`, as `TaughtAutoEncoder` takes
        them. There is none for interest in more than `ease.MAX_ITEMS` items.
        Empty for a model without teachers.

    Raises:
        UserError: the directory of the checkpoints cannot be written.
    """
    if config.model != "taught_autoencoder":
        return {}
    _begin(config, paths, read_manifest(data_dir).fingerprint)
    # Read once, and only if there is something to fit.
    read_ratings = functools.cache(lambda: read_training_ratings(data_dir))
    chain = os.path.join(paths.teachers_dir, "factorization.npz")

    def fit_rating_teacher() -> RidgeEncoders:
        posterior = bayesian_factorization.fit(
            read_ratings(), config.teacher_config(), chain
        )
        encoders = RidgeEncoders.from_posterior(
            posterior, items.counts, items.means, config.seed
        )
        weight = encoders.choose_biases_weight(
            evaluation_batches(
                list_shards(data_dir),
                len(items.item_ids),
                config.batch_size,
                "validation",
            )
        )
        logging.info("The biases weigh as much as %g ratings.", weight)
        return encoders

    rating_teacher = _load_or_fit(paths, "rating_teacher", fit_rating_teacher)
    if tf.io.gfile.exists(chain):
        tf.io.gfile.remove(chain)
    if len(items.item_ids) > ease.MAX_ITEMS:
        logging.info(
            "More than %d items: the network learns interest from what users"
            " rated, without a teacher.",
            ease.MAX_ITEMS,
        )
        return {"rating_teacher": rating_teacher}
    return {
        "rating_teacher": rating_teacher,
        "interest_teacher": _load_or_fit(
            paths, "interest_teacher", lambda: ease.fit(read_ratings())
        ),
    }


def load_teachers(config: Config, paths: JobPaths) -> dict[str, Any]:
    """Loads the teachers that a job fitted, as `fit_teachers` returns them."""
    if config.model != "taught_autoencoder":
        return {}
    files = {name: _path(paths, name) for name in _FILES}
    return {
        name: keras.saving.load_model(path)
        for name, path in files.items()
        if tf.io.gfile.exists(path)
    }


def _begin(config: Config, paths: JobPaths, fingerprint: str) -> None:
    """Removes teachers of other settings or data, and records today's."""
    directory = paths.teachers_dir
    record_path = os.path.join(directory, "fit.json")
    record = {
        "data_fingerprint": fingerprint,
        "factorization": repr(config.teacher_config()),
    }
    if tf.io.gfile.exists(record_path):
        if read_json(record_path) == record:
            return
        tf.io.gfile.rmtree(directory)
    tf.io.gfile.makedirs(directory)
    write_json(record_path, record)


def _path(paths: JobPaths, name: str) -> str:
    return os.path.join(paths.teachers_dir, _FILES[name])


def _load_or_fit(
    paths: JobPaths, name: str, fit: Callable[[], keras.Model]
) -> keras.Model:
    path = _path(paths, name)
    if tf.io.gfile.exists(path):
        return keras.saving.load_model(path)
    model = fit()
    # Keras tells by the ending what it is to write.
    unfinished = path.replace(".keras", ".tmp.keras")
    try:
        model.save(unfinished)
        tf.io.gfile.rename(unfinished, path, overwrite=True)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"cannot write a teacher to {path}: {error}. Make room and start"
            " the same command again: it goes on with this teacher."
        ) from error
    return model
