"""Trains or resumes a job and evaluates it, in one loop for every strategy."""

import contextlib
import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import to_json, write_json
from data_prep.dataset.integrity import check_files
from data_prep.dataset.items import Items, read_items
from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.records import list_shards
from trainer.autoencoder import AutoEncoder
from trainer.checkpoints import (
    Checkpoints,
    CheckpointSchedule,
    restore_best_weights,
)
from trainer.config import PRECISIONS, Config
from trainer.evaluation.evaluator import Evaluator
from trainer.fitted_teachers import fit_teachers, wait_for_teachers
from trainer.input_pipeline import evaluation_batches
from trainer.job_metrics import choose_blend_weights, measure_test
from trainer.job_paths import JobPaths
from trainer.job_record import record_job
from trainer.lease import hold_lease
from trainer.optimizers import OPTIMIZERS
from trainer.progress import Progress
from trainer.rating_distribution import read_rating_distribution
from trainer.taught_autoencoder import TaughtAutoEncoder
from trainer.termination import Terminated, Termination
from trainer.training_loop import TrainingLoop
from trainer.warm_start import warm_start
from trainer.workers import Workers

_DEFAULT_SCHEDULE = CheckpointSchedule()


def train_and_evaluate(
    config: Config,
    data_dir: str,
    paths: JobPaths,
    strategy: tf.distribute.Strategy,
    warm_start_from: str | None = None,
    schedule: CheckpointSchedule = _DEFAULT_SCHEDULE,
    termination: Termination | None = None,
) -> dict[str, Any]:
    """Trains a job to its last epoch and evaluates its best weights.

    Resumes where an earlier run of the job stopped. The teachers of a taught
    model are fitted first. The validation RMSE after each epoch chooses the
    weights, and validation ratings how a taught model mixes its answers; the
    test ratings are read once, for what was chosen and the baselines.

    Args:
        config: the settings of the job.
        data_dir: prepared data.
        paths: the paths of the job.
        strategy: distributes the training over devices.
        warm_start_from: directory of a job on fewer items, from whose weights
            this one starts.
        schedule: how often to save the state within an epoch.
        termination: tells the job to stop. By default nothing does.

    Returns:
        The content of `metrics.json`: the `validation` and `test` metrics of
        the best weights, their epoch, counted from 1, as `best_epoch`, the
        test metrics of the `baselines`, and whether the model `beats_baselines`
        in test RMSE. Errors are on the scale of the ratings. `ranking` has the
        metrics of the lists that network, teachers and baselines make for the
        test users, `liked_from` the rating from which an item counts as
        liked. A taught model has `blend_weights`, which its answers are mixed
        with.

    Raises:
        UserError: another run trains in the job directory, it belongs to
            another job, its checkpoints cannot be read or written, a file of
            the data is damaged, there are fewer users than a batch holds, or
            the loss is no longer finite.
        Terminated: on SIGTERM, once the state is saved.
    """
    _check_batch_size(config, data_dir, strategy)
    check_files(data_dir)
    with contextlib.ExitStack() as stack:
        if Workers(strategy).is_chief:
            stack.enter_context(hold_lease(paths.lease_file))
        return _train_and_evaluate(
            config,
            data_dir,
            paths,
            strategy,
            warm_start_from,
            schedule,
            termination or Termination(),
        )


def _check_batch_size(
    config: Config, data_dir: str, strategy: tf.distribute.Strategy
) -> None:
    num_users = read_manifest(data_dir).num_users
    if num_users < config.batch_size:
        raise UserError(
            f"`batch_size` must be at most the number of users, {num_users}."
            f" Received: batch_size={config.batch_size}"
        )
    if config.batch_size < strategy.num_replicas_in_sync:
        raise UserError(
            "`batch_size` must be at least the number of replicas,"
            f" {strategy.num_replicas_in_sync}."
            f" Received: batch_size={config.batch_size}"
        )


def _train_and_evaluate(
    config: Config,
    data_dir: str,
    paths: JobPaths,
    strategy: tf.distribute.Strategy,
    warm_start_from: str | None,
    schedule: CheckpointSchedule,
    termination: Termination,
) -> dict[str, Any]:
    """As `train_and_evaluate`, once nobody else trains there."""
    steps_per_epoch = read_manifest(data_dir).num_users // config.batch_size
    workers = Workers(strategy)
    if workers.is_chief:
        record_job(paths, config, data_dir)
    items = read_items(data_dir)
    shards = list_shards(data_dir)

    def held_out(group: str) -> tf.data.Dataset:
        return evaluation_batches(
            shards, len(items.item_ids), config.batch_size, group
        )

    distribution = read_rating_distribution(data_dir)
    termination.activity = "fitting the teachers"
    if workers.are_many:
        # Before the strategy's scope, in which all make variables together.
        if workers.is_chief:
            fit_teachers(config, paths, data_dir, items)
        else:
            wait_for_teachers(config, paths, data_dir, items)
    with strategy.scope():
        teachers = fit_teachers(config, paths, data_dir, items)

    # Only now, so that a run that loads its teachers draws what the run that
    # fitted them drew.
    keras.utils.set_random_seed(config.seed)
    if not tf.config.list_logical_devices("GPU"):
        # GPUs have no deterministic kernel for sparse products.
        tf.config.experimental.enable_op_determinism()
    with strategy.scope():
        model = create_model(config, items, distribution.deviation, teachers)
        checkpoints = Checkpoints(model, paths, strategy, steps_per_epoch)
    evaluate = Evaluator(model, strategy)
    checkpoints.restore_latest()
    _check_agreement(workers, config, checkpoints, paths)
    if warm_start_from and not checkpoints.has_saved:
        warm_start(model, warm_start_from, items)
    progress = Progress(
        steps_per_epoch=steps_per_epoch,
        batch_size=config.batch_size,
        first_epoch=checkpoints.num_epochs + 1,
        first_step=checkpoints.num_batches + 1,
        num_epochs=config.num_epochs,
    )
    callbacks = keras.callbacks.CallbackList(
        [
            keras.callbacks.LearningRateScheduler(
                lambda epoch, _: config.learning_rate_at(epoch)
            ),
        ]
        + [keras.callbacks.TensorBoard(paths.log_dir, write_graph=False)]
        * workers.is_chief,
        model=model,
    )
    loop = TrainingLoop(
        config,
        model,
        shards,
        strategy,
        checkpoints,
        schedule,
        progress,
        termination,
    )

    callbacks.on_train_begin()
    for epoch in range(checkpoints.num_epochs + 1, config.num_epochs + 1):
        if 0 < config.patience <= checkpoints.epochs_since_best:
            logging.info(
                "No lower validation RMSE for %d epochs: training stops.",
                config.patience,
            )
            break
        # Keras counts epochs from 0, people from 1.
        callbacks.on_epoch_begin(epoch - 1)
        termination.activity = f"training epoch {epoch}"
        training = loop.run_epoch(epoch)
        termination.activity = f"validating epoch {epoch}"
        try:
            validation = evaluate(held_out("validation"))
        except Terminated:
            loop.save(epoch, steps_per_epoch)
            raise
        loop.check_validation(validation["rmse"], epoch, steps_per_epoch)
        is_best = checkpoints.save_epoch(epoch, validation["rmse"])
        callbacks.on_epoch_end(
            epoch - 1,
            {
                **training,
                "val_rmse": validation["rmse"],
                "val_mae": validation["mae"],
            },
        )
        progress.epoch_done(
            epoch,
            f"training loss {training['loss']:.4f}, validation RMSE"
            f" {validation['rmse']:.4f}{' (best)' if is_best else ''}",
        )
    callbacks.on_train_end()

    if checkpoints.best_epoch == config.num_epochs > 1:
        logging.info(
            "The last epoch has the lowest validation RMSE: the model was still"
            " improving, and more epochs may make it better."
        )

    termination.activity = "evaluating"
    # The chief may still be writing what all read now.
    workers.gather([checkpoints.num_epochs])
    logging.info("Evaluating epoch %d, the best.", checkpoints.best_epoch)
    restore_best_weights(model, paths)
    saved = _mixing_weights(model)
    blend_weights = choose_blend_weights(
        model, items, distribution.liked_from, held_out("validation")
    )
    if _mixing_weights(model) != saved:
        checkpoints.save_best_again()
    metrics = {
        "best_epoch": checkpoints.best_epoch,
        "validation": evaluate(held_out("validation")),
        "liked_from": distribution.liked_from,
        **measure_test(model, items, distribution.liked_from, held_out("test")),
        **({"blend_weights": blend_weights} if blend_weights else {}),
    }
    if workers.is_chief:
        write_json(paths.metrics_file, metrics)
    return metrics


def _check_agreement(
    workers: Workers, config: Config, checkpoints: Checkpoints, paths: JobPaths
) -> None:
    """Refuses to train unless all workers go on with the same job."""
    settings = zlib.crc32(to_json(dataclasses.asdict(config)).encode())
    states = workers.gather(
        [settings, checkpoints.num_epochs, checkpoints.num_batches]
    )
    if (states == states[0]).all():
        return
    described = "; ".join(
        f"settings {settings:08x}, epoch {epoch + 1}, batch {batch}"
        for settings, epoch, batch in states
    )
    raise UserError(
        f"the workers do not agree on the job in {paths.checkpoint_dir}:"
        f" {described}. Give all of them the same flags and the same"
        " directory, and start them again."
    )


def _mixing_weights(model: AutoEncoder | TaughtAutoEncoder) -> list[float]:
    """Lists the weights that a taught model's answers are mixed with."""
    if not isinstance(model, TaughtAutoEncoder):
        return []
    return [
        float(tf.convert_to_tensor(weight))
        for weight in (model.network_weight, model.rating_weight)
    ]


def create_model(
    config: Config,
    items: Items,
    deviation: float = 1.0,
    teachers: Mapping[str, Any] | None = None,
) -> AutoEncoder | TaughtAutoEncoder:
    """Creates the model of a job, compiled and with all its variables.

    Args:
        config: the settings of the job.
        items: the items of its data.
        deviation: standard deviation of the training ratings, which a taught
            model works in.
        teachers: the teachers of a taught model, by the names of its
            arguments.
    """
    model = config.model_class()(
        len(items.item_ids),
        **(teachers or {}),
        **config.model_arguments(),
        dtype=PRECISIONS[config.mixed_precision],
    )
    if isinstance(model, TaughtAutoEncoder):
        model.set_statistics(items.counts, items.means, deviation)
    else:
        model.centering.set_statistics(items.counts, items.means)
    # Under float16 this wraps the optimizer in loss scaling.
    model.compile(
        optimizer=OPTIMIZERS[config.optimizer](
            config.learning_rate,
            weight_decay=config.weight_decay,
            lazy=config.num_sampled_items > 0,
        )
    )
    model.optimizer.build(model.trainable_variables)
    return model
