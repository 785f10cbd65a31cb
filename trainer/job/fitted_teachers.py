"""Fits the teachers of a job once, and keeps them with its checkpoints."""

import contextlib
import functools
import os
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import read_json, write_json
from trainer.config import Config
from trainer.input.job_data import JobData
from trainer.job.keras_files import save_model
from trainer.job.paths import JobPaths
from trainer.teachers import bayesian_factorization, ease
from trainer.teachers.ridge_encoders import RidgeEncoders
from trainer.teachers.training_ratings import (
    TrainingRatings,
    read_training_ratings,
)

#: Name of a teacher as an argument of `TaughtAutoEncoder` -> its file.
_FILES = {
    "rating_teacher": "rating_teacher.keras",
    "interest_teacher": "interest_teacher.keras",
}

#: Seconds without a sign of the chief after which another worker gives up: a
#: multiple of what ten sweeps over a hundred million ratings take.
_LONGEST_WAIT = 3600.0

_SECONDS_BETWEEN_LOOKS = 1.0


def fit_teachers(
    config: Config, paths: JobPaths, data: JobData
) -> dict[str, Any]:
    """Fits the teachers of a job, or loads what an earlier run fitted.

    A fit that was stopped goes on from its checkpoint, to the same teachers.
    They learn from training ratings; validation ratings choose how much the
    rating teacher leans on the biases.

    Args:
        config: the settings of the job.
        paths: its paths.
        data: its data.

    Returns:
        `rating_teacher` and `interest_teacher`, as `TaughtAutoEncoder` takes
        them. There is none for interest in more than `ease.MAX_ITEMS` items.
        Empty for a model without teachers.

    Raises:
        UserError: the directory of the checkpoints cannot be written.
    """
    if config.model != "taught_autoencoder":
        return {}
    _begin(config, paths, data.manifest.fingerprint)
    # Read once, and only if there is something to fit.
    read_ratings = functools.cache(lambda: read_training_ratings(data.data_dir))
    chain = os.path.join(paths.teachers_dir, "factorization.npz")

    rating_teacher = _load_or_fit(
        paths,
        "rating_teacher",
        lambda: fit_rating_teacher(config, data, read_ratings(), chain),
    )
    # Several workers may find it, and one removes it.
    with contextlib.suppress(tf.errors.NotFoundError):
        tf.io.gfile.remove(chain)
    if data.num_items > ease.MAX_ITEMS:
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


def fit_rating_teacher(
    config: Config,
    data: JobData,
    ratings: TrainingRatings,
    chain: str | None = None,
) -> RidgeEncoders:
    """Fits a rating teacher to the training ratings.

    Validation ratings choose how much it leans on the biases.

    Args:
        config: the settings of its job.
        data: the data.
        ratings: their training ratings.
        chain: path of the file that keeps the state of the sampler.
    """
    posterior = bayesian_factorization.fit(
        ratings, config.teacher_config(), chain
    )
    encoders = RidgeEncoders.from_posterior(
        posterior, data.items.counts, data.items.means, config.seed
    )
    weight = encoders.choose_biases_weight(data.held_out("validation"))
    logging.info("The biases weigh as much as %g ratings.", weight)
    return encoders


def wait_for_teachers(config: Config, paths: JobPaths, data: JobData) -> None:
    """Waits until the chief of several workers has fitted the teachers.

    Args:
        config: the settings of the job.
        paths: its paths.
        data: its data.

    Raises:
        UserError: the chief has not written anything for an hour.
    """
    if config.model != "taught_autoencoder":
        return
    record = _record(config, data.manifest.fingerprint)
    names = list(_FILES)
    if data.num_items > ease.MAX_ITEMS:
        names.remove("interest_teacher")
    logging.info("Waiting for the chief to fit the teachers.")
    last_change, seen = time.monotonic(), None
    while time.monotonic() - last_change < _LONGEST_WAIT:
        files = _list_files(paths.teachers_dir)
        if (
            os.path.basename(_record_path(paths)) in files
            and read_json(_record_path(paths)) == record
            and all(_FILES[name] in files for name in names)
        ):
            return
        if files != seen:
            last_change, seen = time.monotonic(), files
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise UserError(
        f"the chief has written nothing to {paths.teachers_dir} for"
        f" {_LONGEST_WAIT / 60:.0f} minutes. Find out what became of it, and"
        " start all workers again."
    )


def _list_files(directory: str) -> dict[str, int]:
    """Returns when each file of a directory was written."""
    if not tf.io.gfile.exists(directory):
        return {}
    files = {}
    for name in tf.io.gfile.listdir(directory):
        # The chief may have removed it by now.
        with contextlib.suppress(tf.errors.NotFoundError):
            path = os.path.join(directory, name)
            files[name] = int(tf.io.gfile.stat(path).mtime_nsec)
    return files


def share_teachers(config: Config, source: JobPaths, paths: JobPaths) -> None:
    """Gives a job the teachers that another one fitted, unless it has some.

    Args:
        config: the settings of the job. Its data and those that decide the
            teachers must be the other's.
        source: the paths of the job that fitted them.
        paths: the paths of the job that gets them.
    """
    if config.model != "taught_autoencoder":
        return
    tf.io.gfile.makedirs(paths.teachers_dir)
    for name in (*_FILES.values(), os.path.basename(_record_path(source))):
        old = os.path.join(source.teachers_dir, name)
        new = os.path.join(paths.teachers_dir, name)
        if tf.io.gfile.exists(old) and not tf.io.gfile.exists(new):
            _link_or_copy(old, new)


def _link_or_copy(old: str, new: str) -> None:
    """Links a file, so that many jobs hold it once, or else copies it."""
    try:
        # Such files are replaced and removed, but never written to.
        os.link(old, new)
    except OSError:
        tf.io.gfile.copy(old, f"{new}.tmp", overwrite=True)
        tf.io.gfile.rename(f"{new}.tmp", new, overwrite=True)


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
    record = _record(config, fingerprint)
    if tf.io.gfile.exists(_record_path(paths)):
        if read_json(_record_path(paths)) == record:
            return
        tf.io.gfile.rmtree(paths.teachers_dir)
    tf.io.gfile.makedirs(paths.teachers_dir)
    write_json(_record_path(paths), record)


def _record(config: Config, fingerprint: str) -> dict[str, str]:
    """Describes what the teachers of a job follow from."""
    return {
        "data_fingerprint": fingerprint,
        "factorization": repr(config.teacher_config()),
    }


def _record_path(paths: JobPaths) -> str:
    return os.path.join(paths.teachers_dir, "fit.json")


def _path(paths: JobPaths, name: str) -> str:
    return os.path.join(paths.teachers_dir, _FILES[name])


def _load_or_fit(
    paths: JobPaths, name: str, fit: Callable[[], keras.Model]
) -> keras.Model:
    path = _path(paths, name)
    if tf.io.gfile.exists(path):
        return keras.saving.load_model(path)
    model = fit()
    save_model(model, path, "a teacher")
    return model
