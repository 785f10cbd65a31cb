"""What a job directory says of its job, and the model read back from it."""

import dataclasses
import json
import os

import tensorflow as tf

from data_prep.dataset import items as vocabulary
from data_prep.dataset import manifest
from data_prep.dataset.errors import UserError
from data_prep.dataset.files import read_json, to_json, write_json
from trainer.autoencoder import AutoEncoder
from trainer.checkpoints import has_best_weights, restore_best_weights
from trainer.config import Config
from trainer.job_paths import JobPaths

_DATA = "data_fingerprint"


def record_job(paths: JobPaths, config: Config, data_dir: str) -> None:
    """Writes down what the job is, or checks that it still is that job.

    A job without a finished epoch has nothing to lose: it may become another.

    Args:
        paths: the places of the job.
        config: its settings.
        data_dir: its prepared data.

    Raises:
        UserError: the directory belongs to a job of other settings or data;
            the message names what differs.
    """
    data = manifest.read_manifest(data_dir)
    record = {**dataclasses.asdict(config), _DATA: data.fingerprint}
    if tf.io.gfile.exists(paths.config_file) and has_best_weights(paths):
        _check_same_job(paths, record)
        return
    tf.io.gfile.makedirs(paths.vocabulary_dir)
    for name in (vocabulary.FILE_NAME, manifest.FILE_NAME):
        tf.io.gfile.copy(
            os.path.join(data_dir, name),
            os.path.join(paths.vocabulary_dir, name),
            overwrite=True,
        )
    # Last, so that a job with a record has everything that it speaks of.
    write_json(paths.config_file, record)


def _check_same_job(paths: JobPaths, record: dict[str, object]) -> None:
    old = read_json(paths.config_file)
    new = json.loads(to_json(record))
    differences = [
        f"{name} was {old.get(name)!r} and is {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if differences:
        raise UserError(
            f"{paths.job_dir} holds a job of another configuration:"
            f" {'; '.join(differences)}. Give the flags of that job to go on"
            " with it, or another --job-dir to start anew."
        )


@dataclasses.dataclass(frozen=True)
class TrainedJob:
    """A finished job, read back.

    Attributes:
        model: with the weights of the lowest validation RMSE.
        items: what the model's item indices mean.
        data: the manifest of the data that it was trained on.
    """

    model: AutoEncoder
    items: vocabulary.Items
    data: manifest.Manifest


def load_job(paths: JobPaths) -> TrainedJob:
    """Reads a job's best model and what belongs to it.

    Args:
        paths: the places of the job.

    Returns:
        The job.

    Raises:
        UserError: there is no trained job.
    """
    if not tf.io.gfile.exists(paths.config_file) or not has_best_weights(paths):
        raise UserError(
            f"{paths.job_dir} holds no trained job. Run `python -m"
            f" trainer.task --job-dir {paths.job_dir}` first."
        )
    record = read_json(paths.config_file)
    del record[_DATA]
    config = Config.from_json(record)
    data = manifest.read_manifest(paths.vocabulary_dir)
    model = AutoEncoder(data.num_items, **config.model_arguments())
    restore_best_weights(model, paths)
    return TrainedJob(
        model=model,
        items=vocabulary.read_items(paths.vocabulary_dir),
        data=data,
    )
