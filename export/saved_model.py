"""Writes, checks and publishes a SavedModel for TensorFlow Serving."""

import os

import keras
import tensorflow as tf
from absl import logging

from export.history_length import typical_history_length
from export.model_card import write_model_card
from export.probe_requests import make_requests, write_warmup_requests
from export.probe_users import make_users, read_users
from export.settings import DEFAULT_SIGNATURES, ExportSettings
from export.signatures.signatures import Signatures
from export.verification import ServedModel, check_answers, check_predictions
from export.versions import (
    list_versions,
    new_version,
    read_origin,
    remove_old_versions,
    write_digests,
    write_origin,
)
from trainer.job.checkpoints import identify_best_weights
from trainer.job.paths import JobPaths
from trainer.job.record import find_training_data, load_job

_DEFAULTS = ExportSettings()


def export_job(paths: JobPaths, settings: ExportSettings = _DEFAULTS) -> str:
    """Publishes the best model of a job as the next version.

    The version is written where TensorFlow Serving does not look, loaded and
    run by the loader of TensorFlow Serving, compared with the trained model,
    and only then given its number. A version that fails is never visible.

    The comparison uses users of the training data if it is at hand
    (`settings.data_dir`, or prepared in the job directory), else generated
    users. The warm-up requests, which stay with the version, are always of
    generated users.

    Args:
        paths: the paths of the job.
        settings: how to export it.

    Returns:
        The directory of the version.

    Raises:
        UserError: there is no trained job, `settings.data_dir` holds other
            data than the job was trained on, or its model cannot rank by
            `settings.rank_by`.
        RuntimeError: the SavedModel does not answer as the model does.
    """
    job = load_job(paths)
    data_dir = find_training_data(paths, job, settings.data_dir)
    scale = (job.data.rating_min, job.data.rating_max)
    signatures = Signatures(
        job.model,
        job.items,
        scale,
        top_k=settings.top_k,
        history_length=settings.history_length
        or typical_history_length(job, data_dir),
        uncertainty=job.uncertainty,
        rank_by=settings.rank_by,
        clip_predictions=settings.clip_predictions,
        default=DEFAULT_SIGNATURES[settings.default_signature],
    )
    generated = make_users(job)
    requests = list(make_requests(signatures, job.items.item_ids, generated))
    with new_version(paths.export_dir) as (draft, published):
        write_saved_model(signatures, draft)
        write_warmup_requests(requests, draft)
        with ServedModel(draft) as served:
            write_model_card(
                draft, paths, job, settings, signatures, served.signature_defs
            )
            check_answers(served, signatures, requests)
            check_predictions(
                served,
                job,
                read_users(data_dir, job.data.num_items)
                if data_dir
                else generated,
                settings,
            )
        write_origin(draft, job.weights_id)
        write_digests(draft)
    logging.info("Published %s.", published)
    if settings.keep is not None:
        remove_old_versions(paths.export_dir, settings.keep)
    return published


def find_export(paths: JobPaths) -> str | None:
    """Finds the newest version of a job, unless it serves other weights.

    Args:
        paths: the paths of a trained job.

    Returns:
        The directory of the version, or `None`.
    """
    versions = list_versions(paths.export_dir)
    if not versions:
        return None
    version_dir = os.path.join(paths.export_dir, str(versions[-1]))
    if read_origin(version_dir) != identify_best_weights(paths):
        return None
    return version_dir


def write_saved_model(signatures: Signatures, path: str) -> None:
    """Writes signatures as a SavedModel, unchecked.

    Args:
        signatures: the functions.
        path: a directory that does not exist yet.
    """
    # `tf.saved_model.save` would write a model that looks the same and loads
    # in Python, but in which TensorFlow Serving's loader finds no weights
    # (https://github.com/keras-team/keras/issues/20095).
    archive = keras.export.ExportArchive()
    for table in signatures.tables:
        archive.track(table)
    for name, specs in signatures.input_specs.items():
        archive.add_endpoint(name, signatures.graph(name), specs)
    # A served model needs no gradients.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    archive.write_out(path, options=options, verbose=False)
