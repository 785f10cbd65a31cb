"""The record of a job in its directory: written, checked and read back."""

import dataclasses
import json
import os

import keras
import tensorflow as tf

from data_prep.dataset import items as vocabulary
from data_prep.dataset import manifest
from data_prep.dataset.errors import UserError
from data_prep.dataset.files import (
    describe_differences,
    read_json,
    to_json,
    write_json,
)
from trainer.config import Config
from trainer.job.checkpoints import (
    has_best_weights,
    has_checkpoint,
    identify_best_weights,
    restore_best_weights,
)
from trainer.job.fitted_teachers import load_teachers
from trainer.job.paths import JobPaths
from trainer.model.autoencoder import AutoEncoder
from trainer.model.taught_autoencoder import TaughtAutoEncoder
from trainer.model.uncertainty import Uncertainty
from trainer.renamed_settings import use_current_settings

_FINGERPRINT = "data_fingerprint"


def record_job(paths: JobPaths, config: Config, data_dir: str) -> None:
    """Records a new job, or checks that a resumed one is still the same.

    A job without a checkpoint has nothing to lose: other settings or data
    overwrite its record. One that has may be given more epochs.

    Args:
        paths: the paths of the job.
        config: its settings.
        data_dir: its prepared data.

    Raises:
        UserError: the directory belongs to a job with other settings or data;
            the message names what differs.
    """
    data = manifest.read_manifest(data_dir)
    record = {**dataclasses.asdict(config), _FINGERPRINT: data.fingerprint}
    if _is_recorded(paths):
        if _check_same_job(paths, record):
            write_json(paths.config_file, record)
        return
    tf.io.gfile.makedirs(paths.vocabulary_dir)
    for name in (vocabulary.FILE_NAME, manifest.FILE_NAME):
        tf.io.gfile.copy(
            os.path.join(data_dir, name),
            os.path.join(paths.vocabulary_dir, name),
            overwrite=True,
        )
    # Last, so that a job with a record has everything that the record needs.
    write_json(paths.config_file, record)


def read_config(paths: JobPaths) -> Config | None:
    """Reads the settings of a job; `None` if there is no checkpoint of one."""
    if not _is_recorded(paths):
        return None
    record = read_json(paths.config_file)
    del record[_FINGERPRINT]
    return Config.from_json(record)


def _is_recorded(paths: JobPaths) -> bool:
    """Says whether a job of at least one checkpoint is there."""
    return tf.io.gfile.exists(paths.config_file) and has_checkpoint(paths)


def _check_same_job(paths: JobPaths, record: dict[str, object]) -> bool:
    """Says whether a job gets more epochs; refuses any other difference."""
    old = use_current_settings(read_json(paths.config_file))
    new = json.loads(to_json(record))
    gets_epochs = new["num_epochs"] > old["num_epochs"]
    if gets_epochs:
        old["num_epochs"] = new["num_epochs"]
    differences = describe_differences(old, new)
    if differences:
        raise UserError(
            f"{paths.record_dir} holds a job of another configuration:"
            f" {'; '.join(differences)}. Give the flags of that job to go on"
            " with it, or another --job-dir to start anew."
        )
    return gets_epochs


@dataclasses.dataclass(frozen=True)
class TrainedJob:
    """A trained job, read back from its directory.

    Attributes:
        model: the autoencoder with the lowest validation RMSE; a taught one
            with its teachers.
        weights_id: what `identify_best_weights` says of its weights.
        items: the items that the model's item indices stand for.
        data: the manifest of the data that it was trained on.
        config: the settings of the job.
        uncertainty: how far ratings lie from the model's predictions; `None`
            for a job of an earlier version, or without validation ratings.
    """

    model: AutoEncoder | TaughtAutoEncoder
    weights_id: str
    items: vocabulary.Items
    data: manifest.Manifest
    config: Config
    uncertainty: Uncertainty | None


def load_job(paths: JobPaths) -> TrainedJob:
    """Reads a job's best model, its items and the manifest of its data.

    Args:
        paths: the paths of the job.

    Returns:
        The job.

    Raises:
        UserError: the directory holds no trained job.
    """
    config = read_config(paths)
    if config is None or not has_best_weights(paths):
        raise UserError(
            f"{paths.job_dir} holds no trained job. Run `python -m"
            f" trainer.task --job-dir {paths.job_dir}` first."
        )
    data = manifest.read_manifest(paths.vocabulary_dir)
    model = config.model_class()(
        data.num_items,
        **load_teachers(config, paths),
        **config.model_arguments(),
    )
    # First: if the job still trains, it may write others meanwhile.
    weights_id = identify_best_weights(paths)
    restore_best_weights(model, paths)
    return TrainedJob(
        model=model,
        weights_id=weights_id,
        items=vocabulary.read_items(paths.vocabulary_dir),
        data=data,
        config=config,
        uncertainty=keras.saving.load_model(paths.uncertainty_file)
        if tf.io.gfile.exists(paths.uncertainty_file)
        else None,
    )


def find_training_data(
    paths: JobPaths, job: TrainedJob, data_dir: str | None = None
) -> str | None:
    """Finds the prepared data that a job was trained on.

    Args:
        paths: the paths of the job.
        job: the trained job.
        data_dir: the directory of the data; `None` looks where the job
            prepares its own.

    Returns:
        The directory of the data, or `None` if it is not there.

    Raises:
        UserError: `data_dir` holds other data.
    """
    fingerprint = job.data.fingerprint
    if data_dir is not None:
        if manifest.read_manifest(data_dir).fingerprint != fingerprint:
            raise UserError(
                f"{data_dir} does not hold the data that the job in"
                f" {paths.job_dir} was trained on."
            )
        return data_dir
    if (
        manifest.is_prepared(paths.data_dir)
        and manifest.read_manifest(paths.data_dir).fingerprint == fingerprint
    ):
        return paths.data_dir
    return None
