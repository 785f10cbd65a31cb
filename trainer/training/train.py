"""Trains or resumes a job and evaluates it, in one loop for every strategy."""

import contextlib
import dataclasses
import functools
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import to_json
from data_prep.dataset.integrity import check_files
from data_prep.dataset.items import Items
from data_prep.dataset.manifest import read_manifest
from trainer.config import PRECISIONS, Config
from trainer.evaluation.evaluator import Evaluator
from trainer.input.job_data import JobData
from trainer.job.checkpoints import Checkpoints, CheckpointSchedule
from trainer.job.fitted_teachers import fit_teachers, wait_for_teachers
from trainer.job.history import History, measure_fixed_point_gap
from trainer.job.lease import hold_lease
from trainer.job.paths import JobPaths
from trainer.job.record import record_job
from trainer.model.autoencoder import AutoEncoder
from trainer.model.optimizers import OPTIMIZERS
from trainer.model.taught_autoencoder import TaughtAutoEncoder
from trainer.training.progress import Progress
from trainer.training.results import choose_weights, measure_and_report
from trainer.training.tensorboard import WeightHistograms
from trainer.training.termination import Terminated, Termination
from trainer.training.training_loop import TrainingLoop
from trainer.training.tuning import report_to_tuning
from trainer.training.warm_start import warm_start
from trainer.training.workers import Workers

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
    test ratings are read once, for what was chosen and the baselines. Metrics
    and a report are written in the end.

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
        liked. `intervals`, `calibration`, `by_user_activity`,
        `by_item_popularity` and `cold_start` tell more of the test ratings. A
        taught model has `blend_weights`, which its answers are mixed with.
        `uncertainty` has what the standard deviations of predictions are worth
        on `validation` and `test` ratings, where there are validation ratings
        to fit them to. The
        metrics of `validation` and `test` are over ratings of items with
        training ratings; their `all` is over all held-out ratings, unless an
        earlier version prepared the data and left the others out.

    Raises:
        UserError: another run trains in the job directory, it belongs to
            another job, its checkpoints cannot be read or written, a file of
            the data is damaged, or there are fewer users than a batch holds.
        DivergenceError: the loss is no longer finite.
        Terminated: on SIGTERM, once the state is saved.
    """
    with _hold_job(config, data_dir, paths, strategy) as workers:
        trained = _train(
            config,
            data_dir,
            paths,
            strategy,
            workers,
            warm_start_from,
            schedule,
            termination or Termination(),
        )
        return measure_and_report(
            trained.model,
            trained.checkpoints,
            trained.evaluate,
            config,
            trained.data,
            paths,
            workers,
        )


def train(
    config: Config,
    data_dir: str,
    paths: JobPaths,
    strategy: tf.distribute.Strategy,
    termination: Termination | None = None,
) -> AutoEncoder | TaughtAutoEncoder:
    """Trains a job as `train_and_evaluate` does, and reads no test ratings.

    Args:
        config: the settings of the job.
        data_dir: prepared data.
        paths: the paths of the job.
        strategy: distributes the training over devices.
        termination: tells the job to stop. By default nothing does.

    Returns:
        The model with its best weights, and those that it mixes answers with.

    Raises:
        UserError: as `train_and_evaluate`.
        Terminated: as `train_and_evaluate`.
    """
    with _hold_job(config, data_dir, paths, strategy) as workers:
        trained = _train(
            config,
            data_dir,
            paths,
            strategy,
            workers,
            None,
            _DEFAULT_SCHEDULE,
            termination or Termination(),
        )
        choose_weights(trained.model, trained.checkpoints, trained.data, paths)
        return trained.model


class _Trained(NamedTuple):
    """What the epochs of a job train, and what tells how good it is."""

    model: AutoEncoder | TaughtAutoEncoder
    checkpoints: Checkpoints
    evaluate: Evaluator
    data: JobData


@contextlib.contextmanager
def _hold_job(
    config: Config,
    data_dir: str,
    paths: JobPaths,
    strategy: tf.distribute.Strategy,
) -> Iterator[Workers]:
    """Checks the data of a job, and keeps other runs out of its directory.

    Yields:
        The processes that train it.
    """
    _check_batch_size(config, data_dir, strategy)
    check_files(data_dir)
    workers = Workers(strategy)
    with contextlib.ExitStack() as stack:
        if workers.is_chief:
            stack.enter_context(hold_lease(paths.lease_file))
        stack.enter_context(workers.must_all_answer())
        yield workers


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


def _train(
    config: Config,
    data_dir: str,
    paths: JobPaths,
    strategy: tf.distribute.Strategy,
    workers: Workers,
    warm_start_from: str | None,
    schedule: CheckpointSchedule,
    termination: Termination,
) -> _Trained:
    """Trains a job to its last epoch, once nobody else trains there."""
    if workers.is_chief:
        record_job(paths, config, data_dir)
    data = JobData.read(data_dir, config.batch_size)
    termination.activity = "fitting the teachers"
    if workers.are_many:
        # Before the strategy's scope, in which all make variables together.
        if workers.is_chief:
            fit_teachers(config, paths, data)
        else:
            wait_for_teachers(config, paths, data)
    with strategy.scope():
        teachers = fit_teachers(config, paths, data)

    # Only now, so that a run that loads its teachers draws what the run that
    # fitted them drew.
    keras.utils.set_random_seed(config.seed)
    if not tf.config.list_logical_devices("GPU"):
        # GPUs have no deterministic kernel for sparse products.
        tf.config.experimental.enable_op_determinism()
    with strategy.scope():
        model = create_model(
            config, data.items, data.distribution.deviation, teachers
        )
        checkpoints = Checkpoints(model, paths, strategy, data.steps_per_epoch)
    checkpoints.restore_latest()
    _check_agreement(workers, config, checkpoints, paths)
    if warm_start_from and not checkpoints.has_saved:
        warm_start(model, warm_start_from, data.items)
    trained = _Trained(model, checkpoints, Evaluator(model, strategy), data)
    _train_epochs(
        config, trained, paths, strategy, workers, schedule, termination
    )
    termination.activity = "evaluating"
    return trained


def _train_epochs(
    config: Config,
    trained: _Trained,
    paths: JobPaths,
    strategy: tf.distribute.Strategy,
    workers: Workers,
    schedule: CheckpointSchedule,
    termination: Termination,
) -> None:
    """Trains a model from its latest state to the last epoch of a job."""
    model, checkpoints, evaluate, data = trained
    progress = Progress(
        steps_per_epoch=data.steps_per_epoch,
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
        + [
            keras.callbacks.TensorBoard(paths.log_dir, write_graph=False),
            WeightHistograms(paths.log_dir),
        ]
        * workers.is_chief,
        model=model,
    )
    loop = TrainingLoop(
        config,
        model,
        data.shards,
        strategy,
        workers,
        checkpoints,
        schedule,
        progress,
        termination,
    )
    history = History(paths, checkpoints.num_epochs)
    held_out = data.held_out("validation")

    callbacks.on_train_begin()
    # All workers end after the same batch, so that they can go on together.
    with termination.deferred():
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
            validation = evaluate(
                held_out,
                after_batch=functools.partial(loop.end_if_terminated, epoch),
            )
            loop.check_validation(
                validation["rmse"], epoch, data.steps_per_epoch
            )
            figures = {
                **training,
                "val_rmse": validation["rmse"],
                "val_mae": validation["mae"],
                "fixed_point_gap": measure_fixed_point_gap(model, held_out),
            }
            # Before the state: each completed epoch has its figures.
            if workers.is_chief:
                history.record(epoch, figures)
                report_to_tuning(validation["rmse"], epoch)
            is_best = checkpoints.save_epoch(epoch, validation["rmse"])
            callbacks.on_epoch_end(epoch - 1, figures)
            progress.epoch_done(
                epoch,
                f"training loss {training['loss']:.4f}, validation RMSE"
                f" {validation['rmse']:.4f}{' (best)' if is_best else ''}",
            )
        # The chief may still be writing what all read next.
        if workers.gather([termination.requested]).any():
            raise Terminated
    callbacks.on_train_end()

    if checkpoints.best_epoch == config.num_epochs > 1:
        logging.info(
            "The last epoch has the lowest validation RMSE: the model was still"
            " improving, and more epochs may make it better."
        )


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
