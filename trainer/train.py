"""Trains or resumes a job and evaluates it, in one loop for every strategy."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from data_prep.dataset.errors import UserError
from data_prep.dataset.files import write_json
from data_prep.dataset.items import Items, read_items
from data_prep.dataset.manifest import read_manifest
from data_prep.dataset.records import list_shards
from trainer.autoencoder import AutoEncoder
from trainer.checkpoints import Checkpoints, restore_best_weights
from trainer.config import PRECISIONS, Config
from trainer.evaluation.evaluator import Evaluator
from trainer.fitted_teachers import fit_teachers
from trainer.history import History, measure_fixed_point_gap
from trainer.input_pipeline import evaluation_batches, training_batches
from trainer.job_metrics import (
    MODEL,
    answer_with_baselines,
    choose_blend_weights,
    measure_test,
)
from trainer.job_paths import JobPaths
from trainer.job_record import record_job
from trainer.optimizers import OPTIMIZERS
from trainer.progress import Progress
from trainer.rating_distribution import read_rating_distribution
from trainer.report.people import ExtremeUsers
from trainer.report.report import write_report
from trainer.taught_autoencoder import TaughtAutoEncoder
from trainer.tensorboard import (
    WeightHistograms,
    write_projector,
    write_test_scalars,
)
from trainer.warm_start import warm_start

#: Training steps between two checks of their losses, for which the host waits
#: for the device.
_STEPS_BETWEEN_CHECKS = 100


def train_and_evaluate(
    config: Config,
    data_dir: str,
    paths: JobPaths,
    strategy: tf.distribute.Strategy,
    warm_start_from: str | None = None,
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

    Raises:
        UserError: the job directory belongs to another job, there are fewer
            users than a batch holds, or the loss is no longer finite.
    """
    num_users = read_manifest(data_dir).num_users
    if num_users < config.batch_size:
        raise UserError(
            f"`batch_size` must be at most the number of users, {num_users}."
            f" Received: batch_size={config.batch_size}"
        )
    record_job(paths, config, data_dir)
    items = read_items(data_dir)
    shards = list_shards(data_dir)

    def held_out(group: str) -> tf.data.Dataset:
        return evaluation_batches(
            shards, len(items.item_ids), config.batch_size, group
        )

    distribution = read_rating_distribution(data_dir)
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
        checkpoints = Checkpoints(model, paths)
    evaluate = Evaluator(model, strategy)
    checkpoints.restore_latest()
    if warm_start_from and not checkpoints.num_epochs:
        warm_start(model, warm_start_from, items)
    steps_per_epoch = num_users // config.batch_size
    progress = Progress(
        steps_per_epoch=steps_per_epoch,
        batch_size=config.batch_size,
        first_epoch=checkpoints.num_epochs + 1,
        num_epochs=config.num_epochs,
    )
    callbacks = keras.callbacks.CallbackList(
        [
            keras.callbacks.LearningRateScheduler(
                lambda epoch, _: config.learning_rate_at(epoch)
            ),
            keras.callbacks.TensorBoard(paths.log_dir, write_graph=False),
            WeightHistograms(paths.log_dir),
        ],
        model=model,
    )
    train_epoch = _EpochTrainer(config, model, shards, strategy, progress)
    history = History(paths, checkpoints.num_epochs)

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
        training = train_epoch(epoch)
        validation = evaluate(held_out("validation"))
        # No training loss shows the updates of the last batch.
        _check_finite([validation["rmse"]], epoch, steps_per_epoch, config)
        figures = {
            **training,
            "val_rmse": validation["rmse"],
            "val_mae": validation["mae"],
            "fixed_point_gap": measure_fixed_point_gap(
                model, held_out("validation")
            ),
        }
        # Before the state, so that no completed epoch is without its figures.
        history.record(epoch, figures)
        is_best = checkpoints.save_epoch(epoch, validation["rmse"])
        callbacks.on_epoch_end(epoch - 1, figures)
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

    logging.info("Evaluating epoch %d, the best.", checkpoints.best_epoch)
    restore_best_weights(model, paths)
    blend_weights = choose_blend_weights(
        model, items, distribution.liked_from, held_out("validation")
    )
    if blend_weights:
        checkpoints.save_best_again()
    extremes = ExtremeUsers(MODEL)
    metrics = {
        "best_epoch": checkpoints.best_epoch,
        "validation": evaluate(held_out("validation")),
        "liked_from": distribution.liked_from,
        **measure_test(
            model, items, distribution, held_out("test"), [extremes]
        ),
        **({"blend_weights": blend_weights} if blend_weights else {}),
    }
    write_json(paths.metrics_file, metrics)
    write_test_scalars(metrics, paths.log_dir)
    write_projector(model, items, paths.log_dir)
    answer = tf.function(answer_with_baselines(model, items))
    write_report(
        paths,
        config,
        data_dir,
        items,
        metrics,
        extremes,
        lambda ratings: answer(ratings).scores[MODEL],
        held_out("test"),
    )
    return metrics


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


class _EpochTrainer:
    """Runs all training steps of an epoch, with one graph for all epochs."""

    def __init__(
        self,
        config: Config,
        model: AutoEncoder | TaughtAutoEncoder,
        shards: Sequence[str],
        strategy: tf.distribute.Strategy,
        progress: Progress,
    ) -> None:
        self._config = config
        self._model = model
        self._shards = shards
        self._strategy = strategy
        self._progress = progress

        @tf.function(reduce_retracing=True)
        def step(batch: Any) -> Any:
            loss = strategy.run(model.train_step, args=(batch,))["loss"]
            return strategy.experimental_local_results(loss)[0]

        self._step = step

    def __call__(self, epoch: int) -> dict[str, float]:
        """Trains one epoch, counted from 1, and returns its metrics."""
        batches = training_batches(
            self._shards,
            self._model.num_items,
            self._config.batch_size,
            self._config.seed,
            epoch,
        )
        self._model.reset_metrics()
        self._progress.epoch_begun()
        step, unchecked = 0, []
        for step, batch in enumerate(
            self._strategy.experimental_distribute_dataset(batches), start=1
        ):
            unchecked.append(self._step(batch))
            if len(unchecked) == _STEPS_BETWEEN_CHECKS:
                _check_finite(unchecked, epoch, step, self._config)
                unchecked.clear()
            self._progress.step_done(epoch, step)
        _check_finite(unchecked, epoch, step, self._config)
        return {
            name: float(metric)
            for name, metric in self._model.training_metrics().items()
        }


def _check_finite(
    losses: Sequence[Any], epoch: int, last_step: int, config: Config
) -> None:
    """Stops the job at the first loss that is not finite.

    Args:
        losses: the losses of consecutive steps.
        epoch: their epoch, counted from 1.
        last_step: the last of these steps, counted from 1 in the epoch.
        config: the settings of the job.
    """
    for step, loss in enumerate(losses, start=last_step - len(losses) + 1):
        if not math.isfinite(loss):
            remedy = (
                "a lower --learning_rate"
                if config.num_refeeds
                else "--num_refeeds=1, which steadies large learning rates,"
                " or a lower --learning_rate"
            )
            kept = (
                f"The state after epoch {epoch - 1} is kept. In another"
                " --job-dir, try"
                if epoch > 1
                else "No epoch was finished. Try"
            )
            raise UserError(
                f"the loss became {float(loss)} in epoch {epoch} at batch"
                f" {step}, with learning rate"
                f" {config.learning_rate_at(epoch - 1):g} and"
                f" num_refeeds={config.num_refeeds}. {kept} {remedy}."
            )
